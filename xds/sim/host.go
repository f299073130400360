package sim

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// virtualHost returns the virtual host for a Host header: an exact domain, else
// the longest "*.suffix", else the longest "prefix.*", else "*"; nil if none.
//
// Source: Envoy, VirtualHost.domains.
func virtualHost(rc *routev3.RouteConfiguration, host string) *routev3.VirtualHost {
	host = strings.ToLower(host)
	if rc.GetIgnorePortInHostMatching() {
		host = withoutPort(host)
	}
	var (
		best     *routev3.VirtualHost
		bestRank rank
	)
	for _, vh := range rc.GetVirtualHosts() {
		for _, domain := range vh.GetDomains() {
			if r, ok := rankOf(strings.ToLower(domain), host); ok && (best == nil || bestRank.less(r)) {
				best, bestRank = vh, r
			}
		}
	}
	return best
}

// rank orders the domains that fit a host.
type rank struct{ kind, length int }

const (
	rankAny = iota
	rankPrefix
	rankSuffix
	rankExact
)

func (r rank) less(o rank) bool {
	return r.kind < o.kind || (r.kind == o.kind && r.length < o.length)
}

// rankOf reports whether host fits domain, and how well. A wildcard stands for
// at least one character.
func rankOf(domain, host string) (rank, bool) {
	switch {
	case domain == "*":
		return rank{kind: rankAny}, true
	case strings.HasPrefix(domain, "*"):
		suffix := domain[1:]
		return rank{rankSuffix, len(suffix)}, len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	case strings.HasSuffix(domain, "*"):
		prefix := domain[:len(domain)-1]
		return rank{rankPrefix, len(prefix)}, len(host) > len(prefix) && strings.HasPrefix(host, prefix)
	}
	return rank{rankExact, len(domain)}, domain == host
}

// withoutPort cuts ":port" off; the colons of a bracketed IPv6 address stay.
func withoutPort(host string) string {
	if colon := portStart(host); colon >= 0 {
		return host[:colon]
	}
	return host
}

// portStart returns the index of the colon before the port, -1 if there is no
// port.
func portStart(host string) int {
	colon := strings.LastIndexByte(host, ':')
	if strings.LastIndexByte(host, ']') > colon {
		return -1
	}
	return colon
}
