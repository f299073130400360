package compile

import (
	"slices"
	"strings"

	"github.com/sluicegw/sluice/compile/graph"
	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/upstream"
)

// buildStreamListener makes the listener of a bind for TCP, TLS or UDP: the
// routes of what is not HTTP are in it, so that it demands the clusters itself.
func (rs *rules) buildStreamListener(rd *graph.Reader, bind model.Bind) resources {
	first := rs.firstSharing(rd, bind)
	owners := rs.gatewaysOf(rd, bind, first)
	in := gateway.StreamInput{
		Bind: bind, Settings: *rs.settings.Read(rd, none{}),
		Servers: rs.streamServers(rd, bind, owners), Targets: map[model.Destination]model.Target{},
	}
	if rs.dynamic.Size.Read(rd, none{}) > 0 {
		in.DNSCache = upstream.DNSCache()
	}
	in.Challenged = rs.challengedOn(rd, bind)
	chains := rs.chainsOn(rd, first.server, &in)
	clusters := map[string]model.Destination{}
	for _, d := range streamDestinations(in) {
		t := rs.target.Read(rd, targetFor(d, bind.Port))
		in.Targets[d] = t.Target
		clusters[t.Cluster] = t.destination
	}
	l, faults := gateway.StreamListener(in)
	if l == nil {
		return resources{faults: faults}
	}
	rs.demandTLS(rd, in, chains)
	for _, name := range gateway.StreamClusters(l) {
		if d, ok := clusters[name]; ok && name != "" {
			rs.cluster.Demand(rd, d)
		}
	}
	parts := []part{{
		name: model.ResourceName{Type: model.TypeListener, Name: model.ListenerName(bind)}, msg: l,
		needs: gateway.StreamNeeds(in), owners: owners,
	}}
	if quic := gateway.QUICListener(in); quic != nil {
		parts = append(parts, part{
			name: model.ResourceName{Type: model.TypeListener, Name: model.QUICName(bind)}, msg: quic, needs: gateway.QUICNeeds(in), owners: owners,
		})
	}
	out := resourcesOf(parts...)
	out.faults = append(out.faults, faults...)
	return out
}

// chainsOn fills in the names of a bind whose TLS ends here, and returns their
// chains. Sharing is the first server of the shared chain, nil if there is none.
func (rs *rules) chainsOn(rd *graph.Reader, sharing *model.Server, in *gateway.StreamInput) (out []chain) {
	bind := in.Bind
	in.Tickets = rs.tickets.Read(rd, none{}) != ""
	names := slices.Clone(rs.names.Read(rd, shareKey{bind, false}))
	if sharing != nil {
		table := model.Table{Bind: bind, TLS: true}
		in.OnDemand = &gateway.OnDemand{Server: sharing, Table: table.Name()}
		names = append(names, rs.unshareable(rd, bind, names)...)
	} else {
		names = append(names, rs.names.Read(rd, shareKey{bind, true})...)
	}
	slices.Sort(names)
	bindings := rs.streams.Read(rd, bind)
	for _, name := range slices.Compact(names) {
		c := rs.chain.Read(rd, sniKey{bind, name})
		if c.server == nil {
			continue
		}
		host := c.host
		if host.Table == "" {
			host.Bindings = slices.DeleteFunc(rs.streamBindings(rd, bindings, host.Gateway), func(b gateway.StreamBinding) bool {
				return !rs.reaches(rd, b.Set, sniKey{bind, name})
			})
		}
		in.TLS = append(in.TLS, host)
		out = append(out, c)
	}
	return out
}

// coveredBy returns the names that a wildcard among wide covers: Envoy looks for a
// chain before it looks for a certificate, so they cannot share one.
func coveredBy(wide, names []string) (out []string) {
	wild := map[string]bool{}
	for _, w := range wide {
		if strings.HasPrefix(w, "*") {
			wild[w] = true
		}
	}
	if len(wild) == 0 {
		return nil
	}
	for _, name := range names {
		for w := range model.Covering(name) {
			if w != name && wild[w] {
				out = append(out, name)
				break
			}
		}
	}
	return out
}

// unshareable returns the names that cannot share a chain although nothing sets
// them apart: those below a wildcard with a chain of its own, and those without a
// certificate below a wildcard with one, which would answer for them.
func (rs *rules) unshareable(rd *graph.Reader, bind model.Bind, own []string) (out []string) {
	wild := rs.wildShared.Read(rd, bind)
	if len(wild) == 0 && !slices.ContainsFunc(own, func(n string) bool { return strings.HasPrefix(n, "*") }) {
		return nil
	}
	shared := rs.names.Read(rd, shareKey{bind, true})
	out = coveredBy(own, shared)
	for _, name := range coveredBy(wild, shared) {
		if c := rs.chain.Read(rd, sniKey{bind, name}); c.server != nil && len(c.pairs) == 0 && !c.issues {
			out = append(out, name)
		}
	}
	return out
}

// reaches reports whether the rules of a route set are for clients that come in
// by a server name: those of its hosts that cover the name, or that are found
// under it.
func (rs *rules) reaches(rd *graph.Reader, set *model.RouteSet, key sniKey) bool {
	return slices.ContainsFunc(set.Hosts, func(h string) bool {
		return model.Covers(h, key.host) || rs.coveringOwner(rd, key.bind, h).name == key.host
	})
}

// demandTLS demands what the chains of a listener name: tables and secrets.
func (rs *rules) demandTLS(rd *graph.Reader, in gateway.StreamInput, chains []chain) {
	scopes := in.OnDemand != nil
	for _, c := range chains {
		if isHTTP(c.server) {
			rs.table.Demand(rd, c.table)
			scopes = scopes || c.host.Scopes
		}
		for _, pair := range c.pairs {
			rs.secret.Demand(rd, secretKey{pair, false})
		}
		if c.host.Authorities != "" {
			rs.secret.Demand(rd, secretKey{c.ca, true})
		}
	}
	if in.OnDemand != nil {
		rs.table.Demand(rd, model.Table{Bind: in.Bind, TLS: true})
		for i := range bucketCount {
			rs.sharedBucket.Demand(rd, bucketKey{model.Table{Bind: in.Bind}, uint8(i)})
		}
	}
	if scopes {
		rs.fallback.Demand(rd, none{})
	}
	if in.Tickets && len(chains) > 0 {
		rs.ticketKeys.Demand(rd, none{})
	}
}

// streamServers returns the servers of a bind, oldest gateway first, with the
// route sets that reach each.
func (rs *rules) streamServers(rd *graph.Reader, bind model.Bind, owners []model.Ref) (out []gateway.StreamServer) {
	kind := rs.class.Read(rd, bind).kind
	bindings := rs.streams.Read(rd, bind)
	for _, gw := range rs.gatewaysNamed(rd, owners) {
		mine := rs.streamBindings(rd, bindings, gw.Ref)
		for i := range gw.Servers {
			if s := &gw.Servers[i]; s.Bind == bind && kindOf(s) == kind {
				out = append(out, gateway.StreamServer{Gateway: gw.Ref, Server: s, Bindings: mine})
			}
		}
	}
	return out
}

// streamBindings returns the route sets among attachments that come through a
// gateway, oldest first.
func (rs *rules) streamBindings(rd *graph.Reader, attachments []attachment, gw model.Ref) (out []gateway.StreamBinding) {
	for _, at := range attachments {
		if at.gateway.Namespace != gw.Namespace || at.gateway.Name != gw.Name {
			continue
		}
		if set, ok := rs.objects.Read(rd, at.by).(*model.RouteSet); ok {
			out = append(out, gateway.StreamBinding{Set: set, Gateways: []model.GatewayRef{at.gateway}})
		}
	}
	slices.SortStableFunc(out, func(a, b gateway.StreamBinding) int { return a.Set.Compare(&b.Set.Meta) })
	return out
}

// gatewaysOf returns the gateways that have a say in the listener of a bind. Of
// those whose names share a chain it is one: thousands may.
func (rs *rules) gatewaysOf(rd *graph.Reader, bind model.Bind, sharing sniOwner) []model.Ref {
	if sharing.server == nil {
		return rs.gatewaysByBind.Read(rd, bind)
	}
	out := append(slices.Clone(rs.ownGateways.Read(rd, bind)), sharing.gateway.Ref)
	slices.SortFunc(out, model.Ref.Compare)
	return slices.Compact(out)
}

// gatewaysOn returns the gateways with a server on a bind, oldest first.
func (rs *rules) gatewaysOn(rd *graph.Reader, bind model.Bind) []*model.Gateway {
	return rs.gatewaysNamed(rd, rs.gatewaysByBind.Read(rd, bind))
}

// gatewaysNamed returns gateways, oldest first.
func (rs *rules) gatewaysNamed(rd *graph.Reader, refs []model.Ref) (out []*model.Gateway) {
	for _, ref := range refs {
		if gw, ok := rs.objects.Read(rd, ref).(*model.Gateway); ok {
			out = append(out, gw)
		}
	}
	slices.SortFunc(out, func(a, b *model.Gateway) int { return a.Compare(&b.Meta) })
	return out
}

// streamDestinations returns every destination of the TCP and TLS rules that
// reach a listener.
func streamDestinations(in gateway.StreamInput) (out []model.Destination) {
	seen := map[*model.RouteSet]bool{}
	add := func(bindings []gateway.StreamBinding) {
		for _, b := range bindings {
			if !seen[b.Set] {
				seen[b.Set] = true
				out = append(out, destinationsOfStreams(b.Set)...)
			}
		}
	}
	for i := range in.Servers {
		add(in.Servers[i].Bindings)
	}
	for i := range in.TLS {
		add(in.TLS[i].Bindings)
	}
	return out
}

func destinationsOfStreams(set *model.RouteSet) (out []model.Destination) {
	for i := range set.TCP {
		for _, d := range set.TCP[i].Route {
			out = append(out, d.Destination)
		}
	}
	for i := range set.TLS {
		for _, d := range set.TLS[i].Route {
			out = append(out, d.Destination)
		}
	}
	return out
}

// httpTraits are what the servers of a plain HTTP bind ask of its listener.
func (rs *rules) httpTraits(rd *graph.Reader, bind model.Bind, in *gateway.ListenerInput) {
	for _, gw := range rs.gatewaysOn(rd, bind) {
		for i := range gw.Servers {
			s := &gw.Servers[i]
			if s.Bind != bind || kindOf(s) != gateway.KindHTTP {
				continue
			}
			in.GRPCWeb = in.GRPCWeb || s.Protocol == model.ProtocolGRPCWeb
			if in.ProxyProtocol == nil {
				in.ProxyProtocol = s.ProxyProtocol
			}
			in.MaxConnections = max(in.MaxConnections, s.MaxConnections)
		}
	}
}
