package compile

import (
	"fmt"
	"slices"

	"github.com/sluicegw/sluice/compile/graph"
	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
)

// This file is about TLS that ends at the gateway: who owns a server name, which
// certificate it is answered with, and what a table must not answer.

// sniKey is a server name, or a wildcard of them, on a bind.
type sniKey struct {
	bind model.Bind
	host string
}

// shareKey is the server names of a bind by whether they may share one chain
// that fetches certificates on demand.
type shareKey struct {
	bind   model.Bind
	shared bool
}

// mayShare reports whether the hosts of a server can live in a chain that
// fetches certificates on demand: nothing but a certificate sets them apart.
func mayShare(s *model.Server) bool {
	return s.TLS != nil && s.Protocol == model.ProtocolHTTPS && s.TLS.Demands() == "" && !s.TLS.HTTP3 &&
		len(s.TLS.Certificates) < 2 && s.TLS.Layout != model.ChainLayoutChains
}

// namesSNI reports whether a server tells its clients apart by server name.
func namesSNI(s *model.Server) bool { return s.TLS != nil || s.Passthrough }

// isHTTP reports whether HTTP is inside of what a server takes.
func isHTTP(s *model.Server) bool {
	return s.Protocol.IsHTTP() || s.TLS != nil && s.Protocol == model.ProtocolHTTPS
}

// tableOf returns the route table of a host of an HTTP server.
func (rs *rules) tableOf(rd *graph.Reader, s *model.Server, host string) model.Table {
	switch {
	case s.TLS == nil:
		return model.Table{Bind: s.Bind}
	case mayShare(s) && rs.onDemand.Read(rd, none{}) == s.Bind:
		return model.Table{Bind: s.Bind, TLS: true}
	}
	return model.Table{Bind: s.Bind, TLS: true, Policy: s.TLS.Policy(host)}
}

// sniOwner is the server to which a name belongs.
type sniOwner struct {
	gateway *model.Gateway // nil: nobody
	server  *model.Server
	name    string // of the server that it is found under
}

// homeOf returns the route table in which a name of an HTTP server lives: that of
// the server to which the name belongs, if the two demand the same of clients.
func (rs *rules) homeOf(rd *graph.Reader, s *model.Server, name string) (model.Table, bool) {
	if s.TLS == nil {
		return model.Table{Bind: s.Bind}, true
	}
	o := rs.ownerOf(rd, sniKey{s.Bind, name})
	if o.server == nil || !isHTTP(o.server) || o.server.TLS.Demands() != s.TLS.Demands() {
		return model.Table{}, false
	}
	return rs.tableOf(rd, o.server, name), true
}

// reachable reports whether a client that names host reaches a table.
func (rs *rules) reachable(rd *graph.Reader, table model.Table, host string) bool {
	if !table.TLS {
		return true
	}
	o := rs.coveringOwner(rd, table.Bind, host)
	return o.server != nil && isHTTP(o.server) && rs.tableOf(rd, o.server, o.name) == table
}

// ownerOf returns the first server of the oldest gateway with a name on a bind.
func (rs *rules) ownerOf(rd *graph.Reader, key sniKey) (o sniOwner) {
	for _, ref := range rs.sni.Read(rd, key) {
		gw, ok := rs.objects.Read(rd, ref).(*model.Gateway)
		if !ok || o.gateway != nil && !gw.Older(&o.gateway.Meta) {
			continue
		}
		for i := range gw.Servers {
			s := &gw.Servers[i]
			if s.Bind == key.bind && namesSNI(s) && slices.ContainsFunc(s.Hosts, func(h model.ServerHost) bool { return h.DNS == key.host }) {
				o = sniOwner{gw, s, key.host}
				break
			}
		}
	}
	return o
}

// coveringOwner returns the server that a client reaches who names host: that of
// the longest name that covers it.
func (rs *rules) coveringOwner(rd *graph.Reader, bind model.Bind, host string) sniOwner {
	for name := range model.Covering(host) {
		if o := rs.ownerOf(rd, sniKey{bind, name}); o.gateway != nil {
			return o
		}
	}
	return sniOwner{}
}

// nameConflict reports that a name of a server belongs to another; nil if it is
// its own, or the other serves it as well.
func (rs *rules) nameConflict(rd *graph.Reader, me sniOwner, h model.ServerHost) *model.Problem {
	o := rs.ownerOf(rd, sniKey{me.server.Bind, h.DNS})
	if o.gateway == nil || o.server == me.server || o.server.Passthrough && me.server.Passthrough {
		return nil
	}
	p := &model.Problem{
		Object: me.gateway.Ref, Field: me.server.Field + ".hosts", Reason: model.ReasonHostConflict, Severity: model.SeverityError,
		Message: fmt.Sprintf("host %q on %v belongs to %s of %v, which says something else of TLS; remove it from one of the two",
			h.DNS, me.server.Bind, o.server.Field, o.gateway.Ref),
	}
	if me.server.TLS == nil || o.server.TLS == nil || isHTTP(me.server) != isHTTP(o.server) || me.server.TLS.Demands() != o.server.TLS.Demands() {
		return p
	}
	if slices.Equal(me.server.TLS.Certificates, o.server.TLS.Certificates) && me.server.TLS.Automation == o.server.TLS.Automation {
		return nil
	}
	p.Field, p.Reason, p.Severity = me.server.Field+".tls", model.ReasonIgnoredDuplicate, model.SeverityWarning
	p.Message = fmt.Sprintf("host %q on %v is answered with the certificate that %s of the older %v names; name it in one place",
		h.DNS, me.server.Bind, o.server.Field, o.gateway.Ref)
	return p
}

// chain is what is answered to a server name on a bind.
type chain struct {
	host   gateway.TLSHost // without its bindings
	table  model.Table     // of HTTP
	server *model.Server
	pairs  []model.Credential
	ca     model.Credential // zero: none
	issues bool             // certificates for names that it covers are ordered on demand
	faults []model.Problem
}

func (c chain) resources() []*model.Resource { return nil }
func (c chain) problems() []model.Problem    { return c.faults }

func (c chain) equal(o chain) bool {
	return c.server == o.server && c.issues == o.issues && c.table == o.table && c.host.Scopes == o.host.Scopes && c.host.Gateway == o.host.Gateway &&
		c.host.Authorities == o.host.Authorities && slices.Equal(c.host.Certificates, o.host.Certificates) &&
		slices.Equal(c.pairs, o.pairs) && c.ca == o.ca && slices.Equal(c.faults, o.faults)
}

// buildChain decides what a server name is answered with. A name without all
// that it needs is withheld, which its gateway's author reads.
func (rs *rules) buildChain(rd *graph.Reader, key sniKey) (c chain) {
	o := rs.ownerOf(rd, key)
	if o.gateway == nil || o.server.TLS == nil {
		return c
	}
	c.server = o.server
	c.host = gateway.TLSHost{Host: key.host, Server: o.server, Gateway: o.gateway.Ref}
	if isHTTP(o.server) {
		c.table = rs.tableOf(rd, o.server, key.host)
		c.host.Table, c.host.Scopes = c.table.Name(), rs.scopes.Read(rd, c.table)
	}
	if rs.issuesBelow(rd, &c, key) {
		return c
	}
	complete := rs.chooseCertificates(rd, &c) && rs.chooseAuthorities(rd, &c)
	if !complete {
		c.host.Certificates, c.host.Authorities, c.pairs, c.ca = nil, "", nil, model.Credential{}
	}
	return c
}

// chooseCertificates names the certificates of c and reports whether there is
// one. Of two of one kind of key, Envoy would show only the first.
func (rs *rules) chooseCertificates(rd *graph.Reader, c *chain) bool {
	kinds := map[bool]bool{}
	for i, credential := range rs.certificatesOf(c) {
		state := rs.certificate.Read(rd, credential)
		field := c.server.Field + ".tls"
		if i < len(c.server.TLS.CertificateFields) {
			field = c.server.TLS.CertificateFields[i]
		}
		if state.remark.why != "" {
			c.remark(field, state)
		}
		switch {
		case !state.usable:
		case kinds[state.rsa]:
			c.report(field, model.ReasonInvalidValue, model.SeverityWarning, fmt.Sprintf(
				"%s has a key of the same kind as the one before it and is never shown; use one RSA and one ECDSA certificate", credential))
		default:
			kinds[state.rsa] = true
			c.pairs = append(c.pairs, credential)
			c.host.Certificates = append(c.host.Certificates, model.SecretName(credential, false))
		}
	}
	return len(c.pairs) > 0
}

// certificatesOf returns the credentials of a name: those of its server, or its
// own automatic one.
func (rs *rules) certificatesOf(c *chain) []model.Credential {
	t := c.server.TLS
	if t.Automation == model.AutomationNone {
		return t.Certificates
	}
	if why := rs.unmanageable(t, c.host.Host); why != "" {
		c.report(c.server.Field+".tls", model.ReasonCredentialMissing, model.SeverityError, why)
		return nil
	}
	return []model.Credential{{Managed: c.host.Host}}
}

// chooseAuthorities names the authorities of c and reports whether what the mode
// asks for is there.
func (rs *rules) chooseAuthorities(rd *graph.Reader, c *chain) bool {
	t := c.server.TLS
	if t.Mode == model.ServerTLSSimple || len(t.Authorities) == 0 {
		return true
	}
	var first credential
	for i, a := range t.Authorities {
		found := rs.credential.Read(rd, a)
		if found.ca != nil {
			c.ca, c.host.Authorities = a, model.SecretName(a, true)
			if found.staleCA.why != "" {
				c.report(t.AuthoritiesField, found.staleCA.reason, model.SeverityError, found.staleCA.why+"; the version before it stays in force")
			}
			return true
		}
		if i == 0 || first.noCA.reason == model.ReasonCredentialMissing {
			first = found
		}
	}
	c.report(t.AuthoritiesField, first.noCA.reason, model.SeverityError, "the host is closed, because clients cannot be verified: "+first.noCA.why)
	return false
}

func (c *chain) remark(field string, state certificate) {
	severity := model.SeverityError
	why := state.remark.why
	switch {
	case state.remark.reason == model.ReasonCertificatePending:
		severity = model.SeverityWarning
	case !state.usable:
		why = fmt.Sprintf("host %q has no certificate and is closed: %s", c.host.Host, why)
	}
	c.report(field, state.remark.reason, severity, why)
}

func (c *chain) report(field string, reason model.Reason, severity model.Severity, message string) {
	c.faults = append(c.faults, model.Problem{
		Object: c.host.Gateway, Field: field, Reason: reason, Severity: severity, Message: message,
	})
}

// findForeign returns the names that a table must not answer although a
// wildcard of its own covers them: they belong to other tables of the bind, where
// a client has more, or other things, to prove.
func (rs *rules) findForeign(rd *graph.Reader, table model.Table) (out []string) {
	own := rs.wild.Read(rd, table)
	if !table.TLS || len(own) == 0 {
		return nil
	}
	for _, shared := range []bool{false, true} {
		for _, name := range rs.names.Read(rd, shareKey{table.Bind, shared}) {
			if slices.Contains(own, name) || !slices.ContainsFunc(own, func(w string) bool { return model.Covers(w, name) }) {
				continue
			}
			o := rs.ownerOf(rd, sniKey{table.Bind, name})
			if o.server == nil {
				continue
			}
			if !isHTTP(o.server) || rs.tableOf(rd, o.server, name) != table {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// misdirectedTable is the part of the name of the routes that answer 421.
const misdirectedTable = "421"

// buildMisdirected answers 421 in a scoped TLS table to every host that is not
// its own.
func (rs *rules) buildMisdirected(rd *graph.Reader, table model.Table) resources {
	name := model.ScopeName(table.Name(), misdirectedTable)
	routes := part{
		name: model.ResourceName{Type: model.TypeRoute, Name: name},
		msg:  gateway.ScopedTable(table.Name(), gateway.Misdirected([]string{misdirectedTable}), 0),
	}
	parts := []part{routes}
	for _, host := range rs.misdirected(rd, table) {
		parts = append(parts, part{
			name:  model.ResourceName{Type: model.TypeScope, Name: model.ScopeName(table.Name(), host)},
			msg:   gateway.ScopeTo(table.Name(), host, name),
			needs: []model.ResourceName{routes.name},
		})
	}
	return resourcesOf(parts...)
}

// misdirected returns the hosts to which a TLS table answers 421: foreign ones,
// and every other unless it has a route for any.
func (rs *rules) misdirected(rd *graph.Reader, table model.Table) []string {
	out := rs.foreign.Read(rd, table)
	if !slices.Contains(rs.wild.Read(rd, table), "*") {
		out = append(slices.Clone(out), "*")
	}
	return out
}
