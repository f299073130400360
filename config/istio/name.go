package istio

import (
	"net/netip"
	"strings"

	"github.com/sluicegw/sluice/model"
)

// qualify makes a short name of an object in namespace the name of the service
// there: "reviews" → "reviews.default.svc.cluster.local". Names with dots,
// wildcards and IP addresses stay.
func qualify(host, namespace string) string {
	if host == "" || strings.ContainsAny(host, ".*:") {
		return host
	}
	return host + "." + namespace + ".svc.cluster.local"
}

// nameForm says which names a place accepts besides exact DNS names.
type nameForm struct {
	wildcard bool // "*" alone or as the first label
	ip       bool
}

// parseName returns a host as it is compared: lower-case, without trailing dot,
// IP addresses in their shortest form.
func parseName(host string, form nameForm) (string, *finding) {
	if host == "" {
		return "", missing("the host is empty; write a DNS name")
	}
	if address, err := netip.ParseAddr(host); err == nil {
		if !form.ip || address.Zone() != "" {
			return "", invalid("%s is an IP address; write a DNS name", quote(host))
		}
		return address.Unmap().String(), nil
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	rest := name
	if form.wildcard {
		if name == "*" {
			return name, nil
		}
		rest = strings.TrimPrefix(name, "*.")
	}
	if wrong := checkDNS(rest); wrong != nil {
		return "", wrong
	}
	if len(name) > 253 {
		return "", invalid("%s is longer than 253 letters; shorten it", quote(host))
	}
	return name, nil
}

// checkDNS checks a lower-case name without wildcard or trailing dot. Source:
// RFC 1123 section 2.1, and underscores as Istio allows them.
func checkDNS(name string) *finding {
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if !isLabel(label) {
			return invalid("%s is no DNS name: its part %s must be 1 to 63 letters, digits and inner hyphens%s",
				quote(name), quote(label), wildcardHint(label))
		}
	}
	if last := labels[len(labels)-1]; len(labels) > 1 && strings.Trim(last, "0123456789") == "" {
		return invalid("%s is neither a DNS name nor an IP address; correct it", quote(name))
	}
	return nil
}

// wildcardHint says where a wildcard may stand, if that is the question.
func wildcardHint(label string) string {
	if strings.Contains(label, "*") {
		return `; where a wildcard may be, "*" is the whole first part`
	}
	return ""
}

// isLabel reports whether s is one lower-case part of a DNS name.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// checkPort checks the number of a port.
func checkPort(n uint32) *finding {
	if n == 0 || n > 65535 {
		return invalid("%d is no port; write a number from 1 to 65535", n)
	}
	return nil
}

// checkAuthority checks a host with or without port that replaces another.
func checkAuthority(s string) *finding {
	if s == "" || len(s) > 261 {
		return invalid("%s is no host; write a DNS name or an IP address, with a port if need be", quote(s))
	}
	for i := range len(s) {
		c := lower(s[i])
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-_.:[]", c) >= 0) {
			return invalid("%s is no host; write a DNS name or an IP address, with a port if need be", quote(s))
		}
	}
	return nil
}

// names reads a list of hosts: those that cannot be used and repeated ones are
// left out.
func (r *reader) names(at *path, hosts []string, parse func(string) (string, *finding)) []string {
	var names []string
	seen := map[string]bool{}
	for i, host := range hosts {
		p := at.element(i)
		if r.at(p) {
			continue
		}
		name, wrong := parse(host)
		if r.fail(p, wrong) {
			continue
		}
		if seen[name] {
			r.warn(p, invalid("%s is listed twice; remove one of them", quote(host)))
			continue
		}
		seen[name] = true
		names = append(names, name)
	}
	return names
}

// exportTo reports a list of namespaces that hides the object from others.
func (r *reader) exportTo(at *path, namespaces []string) {
	if r.any(at) || len(namespaces) == 0 || len(namespaces) == 1 && namespaces[0] == "*" {
		return
	}
	r.note(at, notYet("exportTo is not supported yet, the object is visible everywhere; remove it or write %q alone", "*"))
}

// parseProtocol returns the protocol behind a word in any case, false for a
// word that is none. Source: the protocols of Istio's Port and ServicePort.
func parseProtocol(word string) (model.Protocol, bool) {
	switch p := model.Protocol(strings.ToUpper(word)); p {
	case model.ProtocolHTTP, model.ProtocolHTTP2, model.ProtocolGRPC, model.ProtocolGRPCWeb,
		model.ProtocolHTTPS, model.ProtocolTLS, model.ProtocolTCP, model.ProtocolUDP:
		return p, true
	case "MONGO", "MYSQL", "REDIS":
		return model.ProtocolTCP, true // bytes on TCP to us
	}
	return "", false
}

// protocolWords lists what parseProtocol accepts.
const protocolWords = "HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, UDP, MONGO, MYSQL or REDIS"
