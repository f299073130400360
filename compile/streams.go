package compile

import (
	"slices"

	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/upstream"
)

// buildStreamListener makes the listener of a bind for TCP, TLS passthrough or
// UDP: its routes are in it, so that it demands the clusters itself.
func (rs *rules) buildStreamListener(rd *reader, bind model.Bind) resources {
	in := gateway.StreamInput{
		Bind: bind, Settings: *rs.settings.read(rd, none{}),
		Servers: rs.streamServers(rd, bind), Targets: map[model.Destination]model.Target{},
	}
	if rs.dynamic.size.read(rd, none{}) > 0 {
		in.DNSCache = upstream.DNSCache()
	}
	clusters := map[string]model.Destination{}
	for _, s := range in.Servers {
		for _, b := range s.Bindings {
			for _, d := range streamDestinations(b.Set) {
				t := rs.target.read(rd, targetFor(d, bind.Port))
				in.Targets[d] = t.Target
				clusters[t.Cluster] = t.destination
			}
		}
	}
	l, faults := gateway.StreamListener(in)
	if l == nil {
		return resources{faults: faults}
	}
	for _, name := range gateway.StreamClusters(l) {
		if d, ok := clusters[name]; ok && name != "" {
			rs.cluster.demand(rd, d)
		}
	}
	out := resourcesOf(part{
		name: model.ResourceName{Type: model.TypeListener, Name: model.ListenerName(bind)}, msg: l,
		owners: rs.gatewaysByBind.read(rd, bind),
	})
	out.faults = append(out.faults, faults...)
	return out
}

// streamServers returns the servers of a bind, oldest gateway first, with the
// route sets that reach each.
func (rs *rules) streamServers(rd *reader, bind model.Bind) (out []gateway.StreamServer) {
	kind := rs.class.read(rd, bind).kind
	bindings := rs.streams.read(rd, bind)
	for _, gw := range rs.gatewaysOn(rd, bind) {
		var mine []gateway.StreamBinding
		for _, at := range bindings {
			set, _ := rs.objects.read(rd, at.by).(*model.RouteSet)
			if set != nil && at.gateway == gatewayRef(gw) {
				mine = append(mine, gateway.StreamBinding{Set: set, Gateways: []model.GatewayRef{at.gateway}})
			}
		}
		slices.SortStableFunc(mine, func(a, b gateway.StreamBinding) int { return a.Set.Compare(&b.Set.Meta) })
		for i := range gw.Servers {
			if s := &gw.Servers[i]; s.Bind == bind && kindOf(s) == kind {
				out = append(out, gateway.StreamServer{Gateway: gw.Ref, Server: s, Bindings: mine})
			}
		}
	}
	return out
}

// gatewaysOn returns the gateways with a server on a bind, oldest first.
func (rs *rules) gatewaysOn(rd *reader, bind model.Bind) (out []*model.Gateway) {
	for _, ref := range rs.gatewaysByBind.read(rd, bind) {
		if gw, ok := rs.objects.read(rd, ref).(*model.Gateway); ok {
			out = append(out, gw)
		}
	}
	slices.SortFunc(out, func(a, b *model.Gateway) int { return a.Compare(&b.Meta) })
	return out
}

// streamDestinations returns every destination of the TCP and TLS rules of a
// set.
func streamDestinations(set *model.RouteSet) (out []model.Destination) {
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
func (rs *rules) httpTraits(rd *reader, bind model.Bind, in *gateway.ListenerInput) {
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
