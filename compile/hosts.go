package compile

import (
	"bytes"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/compile/graph"
	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/routing"
)

// virtualHost is one host, encoded; the bytes are the same in both layouts but
// for the domain.
type virtualHost struct {
	encoded   []byte
	plain     []byte // as a plain table holds it: many routes as a tree
	maxDirect uint32 // bytes of the largest direct response body
	owners    []model.Ref
	faults    []model.Problem
}

func (v virtualHost) resources() []*model.Resource { return nil }
func (v virtualHost) problems() []model.Problem    { return v.faults }

func (v virtualHost) equal(o virtualHost) bool {
	return bytes.Equal(v.encoded, o.encoded) && v.maxDirect == o.maxDirect &&
		slices.Equal(v.owners, o.owners) && slices.Equal(v.faults, o.faults)
}

// buildHost translates the rules of one host and demands the clusters that its
// routes name.
func (rs *rules) buildHost(rd *graph.Reader, key hostKey) virtualHost {
	in := routing.HostInput{
		Table: key.table.Name(), Port: key.table.Bind.Port, Host: key.host,
		Targets: map[model.Destination]model.Target{},
		Proxy:   routing.Proxy{Labels: rs.fleet.Labels, Namespace: rs.fleet.Namespace},

		RequestBodyBufferBytes: rs.settings.Read(rd, none{}).RequestBodyBufferBytes,
	}
	in.Bindings, in.HTTPSRedirect = rs.bindingsOf(rd, key)
	clusters := map[string]model.Destination{}
	owners := make([]model.Ref, 0, len(in.Bindings)+1)
	for _, b := range in.Bindings {
		owners = append(owners, ownersOf(b.Set)...)
		for i := range b.Set.HTTP {
			for _, d := range destinationsOf(&b.Set.HTTP[i]) {
				t := rs.target.Read(rd, targetFor(d, key.table.Bind.Port))
				in.Targets[d] = t.Target
				if t.Cluster != "" {
					clusters[t.Cluster] = t.destination
				}
			}
		}
	}
	vh, faults := routing.VirtualHost(in)
	if rs.answersChallenges(rd, key) {
		vh = gateway.WithChallenge(vh)
	}
	out := virtualHost{owners: owners, faults: faults, maxDirect: routing.MaxDirectBody(vh)}
	var err error
	if out.encoded, out.plain, err = encodeHost(vh); err != nil {
		name := model.ResourceName{Type: model.TypeRoute, Name: model.ScopeName(in.Table, key.host)}
		out.faults = append(out.faults, refused(owners, name, err))
		out.encoded, out.plain, _ = encodeHost(routing.Refusal(in)) // of fixed shape
		return out
	}
	for _, name := range routing.Clusters(vh) {
		if d, ok := clusters[name]; ok {
			rs.cluster.Demand(rd, d)
		}
	}
	return out
}

// encodeHost encodes a virtual host for both layouts.
func encodeHost(vh *routev3.VirtualHost) (list, plain []byte, err error) {
	if list, err = encode(vh); err != nil {
		return nil, nil, err
	}
	tree := routing.Tree(vh)
	if tree == vh {
		return list, list, nil
	}
	plain, err = encode(tree)
	return list, plain, err
}

// encodeFixed encodes a message of fixed shape.
func encodeFixed(m validated) []byte {
	b, err := encode(m)
	if err != nil {
		panic("compile: " + err.Error())
	}
	return b
}

// ownersOf returns a route set and those that it delegates to.
func ownersOf(set *model.RouteSet) []model.Ref {
	out := []model.Ref{set.Ref}
	for i := range set.HTTP {
		if o := set.HTTP[i].Owner; o != (model.Ref{}) && !slices.Contains(out, o) {
			out = append(out, o)
		}
	}
	return out
}

// destinationsOf returns every place that a rule sends to.
func destinationsOf(r *model.HTTPRule) []model.Destination {
	out := make([]model.Destination, 0, len(r.Route)+len(r.Mirrors))
	for i := range r.Route {
		out = append(out, r.Route[i].Destination)
	}
	for i := range r.Mirrors {
		out = append(out, r.Mirrors[i].Destination)
	}
	return out
}

// bindingsOf returns the route sets of a host, oldest first, and whether its
// plain HTTP is redirected.
//
// A host that is there only to answer challenges gets the rules of the wildcard
// that would take it otherwise.
func (rs *rules) bindingsOf(rd *graph.Reader, key hostKey) (out []routing.Binding, redirect bool) {
	if !rs.answersChallenges(rd, key) {
		return rs.ownBindings(rd, key)
	}
	for name := range model.Covering(key.host) {
		if out, redirect = rs.ownBindings(rd, hostKey{key.table, name}); len(out) > 0 || redirect {
			return out, redirect
		}
	}
	return nil, false
}

func (rs *rules) ownBindings(rd *graph.Reader, key hostKey) (out []routing.Binding, redirect bool) {
	for _, at := range rs.bindings.Read(rd, key) {
		redirect = redirect || at.redirect
		set := rs.expanded.Read(rd, at.by).set
		if set == nil {
			continue // a gateway's own redirect
		}
		// entries of one object are neighbours
		if n := len(out); n > 0 && out[n-1].Set == set {
			if !slices.Contains(out[n-1].Gateways, at.gateway) {
				out[n-1].Gateways = append(out[n-1].Gateways, at.gateway)
			}
			continue
		}
		out = append(out, routing.Binding{Set: set, Gateways: []model.GatewayRef{at.gateway}})
	}
	slices.SortStableFunc(out, func(a, b routing.Binding) int { return a.Set.Compare(&b.Set.Meta) })
	return out, redirect
}

// buildPlainTable puts all hosts of a table into one route configuration, and
// makes the scope that leads there.
func (rs *rules) buildPlainTable(rd *graph.Reader, table model.Table) resources {
	name := table.Name()
	hosts := rs.hosts.Read(rd, table)
	encoded := make([][]byte, 0, len(hosts))
	var maxDirect uint32
	var owners []model.Ref
	for _, h := range hosts {
		v := rs.host.Read(rd, hostKey{table, h})
		encoded = append(encoded, v.plain)
		maxDirect = max(maxDirect, v.maxDirect)
		owners = append(owners, v.owners...)
	}
	if table.TLS {
		if foreign := rs.misdirected(rd, table); len(foreign) > 0 {
			encoded = append(encoded, encodeFixed(gateway.Misdirected(foreign)))
		}
	}
	slices.SortFunc(owners, model.Ref.Compare)
	p := part{name: model.ResourceName{Type: model.TypeRoute, Name: name}, owners: slices.Compact(owners)}
	out := resources{list: []*model.Resource{newResource(p, gateway.PlainTable(name, encoded, maxDirect))}}
	if rs.scopes.Read(rd, table) {
		scope := gateway.TableScope(name)
		out.list = append(out.list, resourcesOf(part{
			name: model.ResourceName{Type: model.TypeScope, Name: scope.GetName()}, msg: scope, needs: []model.ResourceName{p.name},
		}).list...)
	}
	return out
}

// buildScopedHost gives one host a route configuration and a scope of its own.
func (rs *rules) buildScopedHost(rd *graph.Reader, key hostKey) resources {
	v := rs.host.Read(rd, key)
	table := key.table.Name()
	name := model.ScopeName(table, key.host)
	vh := &routev3.VirtualHost{}
	if err := proto.Unmarshal(v.encoded, vh); err != nil {
		return resources{faults: []model.Problem{refused(v.owners, model.ResourceName{Type: model.TypeRoute, Name: name}, err)}}
	}
	rc := gateway.ScopedTable(table, vh, v.maxDirect)
	for i := range rc.GetVirtualHosts() {
		rc.VirtualHosts[i] = routing.Tree(rc.VirtualHosts[i])
	}
	routes := part{name: model.ResourceName{Type: model.TypeRoute, Name: name}, msg: rc, owners: v.owners}
	scope := part{
		name: model.ResourceName{Type: model.TypeScope, Name: name}, msg: gateway.Scope(table, key.host),
		needs: []model.ResourceName{routes.name}, owners: v.owners,
	}
	out := resourcesOf(routes, scope)
	if r := rs.refused.Read(rd, routes.name); r.Hash != 0 && len(out.list) > 0 && out.list[0].Hash == r.Hash {
		in := routing.HostInput{Table: table, Port: key.table.Bind.Port, Host: key.host}
		routes.msg = gateway.ScopedTable(table, routing.Refusal(in), 0)
		out = resourcesOf(routes, scope)
		out.faults = append(out.faults, r.problems(v.owners, routes.name)...)
	}
	return out
}
