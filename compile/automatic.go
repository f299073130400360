package compile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/compile/graph"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/upstream"
)

// This file is about certificates that come by themselves: which hosts want one,
// and how the challenges of the authority are answered.

// ACME is what the fleet can do about certificates.
type ACME struct {
	// HTTP and TLSALPN are where challenges are answered, on the proxy's machine.
	HTTP, TLSALPN netip.AddrPort
	// Wildcards is set when DNS-01 can be answered.
	Wildcards bool
	// Implied is set when servers that name no certificate get one.
	Implied bool
	// Asks is set when somebody is asked before a certificate is ordered on demand.
	Asks bool
}

// unmanageable says why a host of a server gets no automatic certificate; "" if
// it does.
func (rs *rules) unmanageable(t *model.ServerTLS, host string) string {
	acme := rs.fleet.ACME
	switch {
	case t.Automation == model.AutomationImplied && (acme == nil || !acme.Implied):
		return fmt.Sprintf("no certificate is named, so host %q is closed; give the server a credentialName, or get certificates automatically with --acme-email or the annotation sluice.dev/tls: auto", host)
	case acme == nil:
		return fmt.Sprintf("automatic certificates are not available here, so host %q is closed; name a certificate", host)
	case t.IssuesBelow(host) && host == "*" && len(t.Allowed) == 0 && !acme.Asks:
		return `the host "*" would let anybody order certificates for any name, so it is closed; say for which with the annotation sluice.dev/tls-allow, or who is asked with --acme-ask, or write the hosts`
	case t.IssuesBelow(host):
		return ""
	case host == "*":
		return `the host "*" is no name that an authority signs; write the names, or give the server a certificate`
	case strings.HasPrefix(host, "*.") && !acme.Wildcards:
		return fmt.Sprintf("host %q is a wildcard, which an authority signs only after a DNS-01 challenge, so it is closed; configure --acme-dns, or write the names", host)
	}
	return ""
}

// managedHostsOf returns the hosts of a gateway that want an automatic
// certificate, and the wildcards below which certificates are ordered on demand.
func (rs *rules) managedHostsOf(gw *model.Gateway) (out, issuers []string) {
	for i := range gw.Servers {
		s := &gw.Servers[i]
		if s.TLS == nil || s.TLS.Automation == model.AutomationNone {
			continue
		}
		for _, h := range s.Hosts {
			switch {
			case rs.unmanageable(s.TLS, h.DNS) != "":
			case s.TLS.IssuesBelow(h.DNS):
				issuers = append(issuers, h.DNS)
			default:
				out = append(out, h.DNS)
			}
		}
	}
	return out, issuers
}

// challengeAttachments puts the hosts of a gateway whose names may be challenged on
// every plain HTTP port, where HTTP-01 challenges come in: the automatic exact ones,
// and wildcards below which certificates are ordered on demand.
func (rs *rules) challengeAttachments(rd *graph.Reader, gw *model.Gateway) (out []attachment) {
	hosts, issuers := rs.managedHostsOf(gw)
	hosts = slices.DeleteFunc(hosts, func(h string) bool { return strings.HasPrefix(h, "*") })
	hosts = append(hosts, issuers...)
	if len(hosts) == 0 {
		return nil
	}
	for _, bind := range rs.httpBinds.Read(rd, none{}) {
		for _, h := range hosts {
			out = append(out, attachment{table: model.Table{Bind: bind}, host: h, by: gw.Ref, gateway: gatewayRef(gw)})
		}
	}
	return out
}

// answersChallenges reports whether a virtual host answers HTTP-01 challenges.
func (rs *rules) answersChallenges(rd *graph.Reader, key hostKey) bool {
	if rs.fleet.ACME == nil || key.table.TLS {
		return false
	}
	if !strings.HasPrefix(key.host, "*") && len(rs.isManaged.Read(rd, key.host)) > 0 {
		return true
	}
	for wildcard := range model.Covering(key.host) {
		if len(rs.isIssuer.Read(rd, wildcard)) > 0 {
			return true
		}
	}
	return false
}

// challengedOn returns the hosts of a bind that answer TLS-ALPN-01 challenges,
// sorted: exact ones, and wildcards below which certificates are ordered on demand.
func (rs *rules) challengedOn(rd *graph.Reader, bind model.Bind) (out []string) {
	if rs.fleet.ACME == nil {
		return nil
	}
	for _, h := range rs.managedHosts.Read(rd, none{}) {
		if strings.HasPrefix(h, "*") {
			continue
		}
		if o := rs.ownerOf(rd, sniKey{bind, h}); o.server != nil && o.server.TLS != nil {
			out = append(out, h)
		}
	}
	for _, h := range rs.issuers.Read(rd, none{}) {
		if rs.chain.Read(rd, sniKey{bind, h}).issues {
			out = append(out, h)
		}
	}
	slices.Sort(out)
	return out
}

// buildChallengeClusters makes the ways to whoever answers challenges.
func (rs *rules) buildChallengeClusters(_ *graph.Reader, _ none) resources {
	var parts []part
	for _, c := range []struct {
		name string
		at   netip.AddrPort
	}{{model.ClusterChallengeHTTP, rs.fleet.ACME.HTTP}, {model.ClusterChallengeTLS, rs.fleet.ACME.TLSALPN}} {
		parts = append(parts, part{name: model.ResourceName{Type: model.TypeCluster, Name: c.name}, msg: upstream.Fixed(c.name, c.at)})
	}
	return resourcesOf(parts...)
}
