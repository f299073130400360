package compile

import (
	"fmt"
	"slices"

	"github.com/sluicegw/sluice/model"
)

// This file is about the parts of a route set that nothing serves: hosts without
// a server, rules without a server that speaks their protocol.

// placement is a route set on its way to the servers of its gateways.
type placement struct {
	set     *model.RouteSet
	gateway *model.Gateway
	fates   []fate // by host of the set
	heard   map[section]bool
	names   map[string]bool // server names of the tls rules that a server passes through
}

// fate is what becomes of a host of a route set.
type fate struct {
	named  bool // a server has it
	spoken bool // and follows rules of a section that the set has
	placed bool // and serves it
}

// section is a list of rules of a route set, as its field is called.
type section string

const (
	sectionHTTP section = "http"
	sectionTLS  section = "tls" // TLS that is passed through
	sectionTCP  section = "tcp" // bytes, those inside of TLS that ends here and of UDP too
)

func newPlacement(set *model.RouteSet) placement {
	return placement{set: set, fates: make([]fate, len(set.Hosts)), heard: map[section]bool{}, names: map[string]bool{}}
}

// sectionOf returns which rules a server follows.
func sectionOf(s *model.Server) section {
	switch {
	case isHTTP(s):
		return sectionHTTP
	case s.Passthrough:
		return sectionTLS
	}
	return sectionTCP
}

// follows reports whether the set has rules for what s speaks. One whose rules
// could not be read has its hosts served without them: they must not fall to
// somebody's wildcard.
func (p placement) follows(s *model.Server) bool {
	set := p.set
	switch sectionOf(s) {
	case sectionTLS:
		return len(set.TLS) > 0
	case sectionTCP:
		return len(set.TCP) > 0
	}
	return len(set.HTTP) > 0 || len(set.TLS)+len(set.TCP) == 0
}

// meet notes that a server has host i of the set.
func (p placement) meet(i int, s *model.Server) {
	f := &p.fates[i]
	f.named = true
	if p.follows(s) {
		f.spoken, p.heard[sectionOf(s)] = true, true
	}
}

// meetNames notes the names of the tls rules that a server has under a host of
// its own.
func (p placement) meetNames(s *model.Server, host string) {
	if !s.Passthrough {
		return
	}
	for i := range p.set.TLS {
		for j := range p.set.TLS[i].Matches {
			for _, name := range p.set.TLS[i].Matches[j].SNI {
				if _, ok := model.Narrower(name, host); ok {
					p.names[name] = true
				}
			}
		}
	}
}

// faults reports what no server serves. What waits for the mesh is no fault
// while a gateway serves another host of the set.
func (p placement) faults() (out []model.Problem) {
	served := slices.ContainsFunc(p.fates, func(f fate) bool { return f.placed })
	report := func(field string, reason model.Reason, severity model.Severity, format string, args ...any) {
		out = append(out, model.Problem{Object: p.set.Ref, Field: field, Reason: reason, Severity: severity, Message: fmt.Sprintf(format, args...)})
	}
	for i, f := range p.fates {
		field, host := fmt.Sprintf("spec.hosts[%d]", i), p.set.Hosts[i]
		switch {
		case f.placed || f.named && !f.spoken: // in the latter case its rules are reported
		case p.set.Mesh && served:
			report(field, model.ReasonWaitingForMesh, model.SeverityNote,
				"no server of its gateways serves host %q, which waits for the sidecars, which do not exist yet; for clients from outside add it to the hosts of a server", host)
		default:
			report(field, model.ReasonHostNotInGateway, model.SeverityError,
				"no server of its gateways serves host %q to namespace %s; add it to the hosts of a server", host, p.set.Ref.Namespace)
		}
	}
	if !slices.ContainsFunc(p.fates, func(f fate) bool { return f.named }) {
		return out
	}
	severity := model.SeverityError
	if served {
		severity = model.SeverityWarning
	}
	for _, s := range []section{sectionHTTP, sectionTLS, sectionTCP} {
		if !p.heard[s] && p.wants(s) {
			report("spec."+string(s), model.ReasonNotAttached, severity, "no server of its gateways that has one of its hosts %s; add one, or remove the rules", lackOf(s))
		}
	}
	if p.heard[sectionTLS] {
		out = append(out, p.unheardNames()...)
	}
	return out
}

// lackOf says what no server does, in the words of a Gateway.
func lackOf(s section) string {
	switch s {
	case sectionTLS:
		return "passes TLS through (mode PASSTHROUGH), so the tls rules take no connection; TLS that ends here follows http rules, or tcp rules for protocol TLS"
	case sectionTCP:
		return "takes bytes (protocol TCP, or TLS that ends here), so the tcp rules take no connection"
	}
	return "takes HTTP (protocol HTTP, or HTTPS that ends here), so the http rules take no request"
}

// wants reports whether the set has rules of a section for gateways, not for the
// mesh alone.
func (p placement) wants(s section) bool {
	switch s {
	case sectionTLS:
		return slices.ContainsFunc(p.set.TLS, func(r model.TLSRule) bool {
			return !allFor(r.Matches, func(m model.TLSMatch) bool { return m.MeshOnly })
		})
	case sectionTCP:
		return slices.ContainsFunc(p.set.TCP, func(r model.TCPRule) bool {
			return !allFor(r.Matches, func(m model.TCPMatch) bool { return m.MeshOnly })
		})
	}
	return slices.ContainsFunc(p.set.HTTP, func(r model.HTTPRule) bool {
		return !allFor(r.Matches, func(m model.Match) bool { return m.MeshOnly })
	})
}

// allFor reports whether there are matches and all of them are for the mesh.
func allFor[M any](matches []M, mesh func(M) bool) bool {
	return len(matches) > 0 && !slices.ContainsFunc(matches, func(m M) bool { return !mesh(m) })
}

// unheardNames reports the server names of tls rules that no server passes
// through.
func (p placement) unheardNames() (out []model.Problem) {
	for i := range p.set.TLS {
		for _, m := range p.set.TLS[i].Matches {
			for _, name := range m.SNI {
				if m.MeshOnly || p.names[name] {
					continue
				}
				out = append(out, model.Problem{
					Object: p.set.Ref, Field: m.Field + ".sniHosts", Reason: model.ReasonNotAttached, Severity: model.SeverityWarning,
					Message: fmt.Sprintf("no server of its gateways passes TLS for %q through, so no connection comes with it; add it to the hosts of a server", name),
				})
			}
		}
	}
	return out
}
