package compile

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/compile/graph"
	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
)

// attachment is a host that an object brings to a bind.
type attachment struct {
	table model.Table // of a stream, only its bind
	host  string
	by    model.Ref // the route set, or the gateway itself
	// gateway is the gateway through which the route set came.
	gateway  model.GatewayRef
	redirect bool // the server answers plain HTTP with a redirect to https
	stream   bool // of TCP or TLS rules; host is empty
}

// attached is all that one object brings.
type attached struct {
	entries []attachment
	binds   []model.Bind // of a gateway: where it listens
	faults  []model.Problem
}

func (a attached) equal(b attached) bool {
	return slices.Equal(a.entries, b.entries) && slices.Equal(a.binds, b.binds) && slices.Equal(a.faults, b.faults)
}

func (a attached) resources() []*model.Resource { return nil }
func (a attached) problems() []model.Problem    { return a.faults }

func compareBind(a, b model.Bind) int {
	return cmp.Or(cmp.Compare(a.Port, b.Port), strings.Compare(a.Address, b.Address))
}

func compareTable(a, b model.Table) int {
	return cmp.Or(compareBind(a.Bind, b.Bind), compareBool(a.TLS, b.TLS), strings.Compare(a.Policy, b.Policy))
}

func compareAttachment(a, b attachment) int {
	return cmp.Or(
		a.by.Compare(b.by),
		strings.Compare(a.gateway.Namespace, b.gateway.Namespace),
		strings.Compare(a.gateway.Name, b.gateway.Name),
		compareTable(a.table, b.table),
		strings.Compare(a.host, b.host),
		compareBool(a.redirect, b.redirect),
		compareBool(a.stream, b.stream),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// reindexAttached keeps the indexes of attachments.
func (rs *rules) reindexAttached(before, after attached) {
	b, a := placesOf(before), placesOf(after)
	rs.binds.Replace(b.binds, a.binds)
	rs.tables.Replace(b.tables, a.tables)
	rs.hosts.Replace(b.hosts, a.hosts)
	rs.buckets.Replace(b.buckets, a.buckets)
	rs.wild.Replace(b.wild, a.wild)
	rs.bindings.Replace(b.bindings, a.bindings)
	rs.streams.Replace(b.streams, a.streams)
}

// attachedPlaces are the places of one object's attachments in the indexes.
type attachedPlaces struct {
	binds    []graph.Entry[none, model.Bind]
	tables   []graph.Entry[none, model.Table]
	hosts    []graph.Entry[model.Table, string]
	buckets  []graph.Entry[bucketKey, string]
	wild     []graph.Entry[model.Table, string]
	bindings []graph.Entry[hostKey, attachment]
	streams  []graph.Entry[model.Bind, attachment]
}

func placesOf(a attached) (p attachedPlaces) {
	for _, b := range a.binds {
		p.binds = append(p.binds, graph.At(none{}, b))
	}
	for _, at := range a.entries {
		if at.stream {
			p.streams = append(p.streams, graph.At(at.table.Bind, at))
			continue
		}
		p.hosts = append(p.hosts, graph.At(at.table, at.host))
		p.tables = append(p.tables, graph.At(none{}, at.table))
		p.buckets = append(p.buckets, graph.At(bucketKey{at.table, bucketOf(at.host)}, at.host))
		p.bindings = append(p.bindings, graph.At(hostKey{at.table, at.host}, at))
		if strings.HasPrefix(at.host, "*") {
			p.wild = append(p.wild, graph.At(at.table, at.host))
		}
	}
	return p
}

func bucketOf(host string) uint8 {
	h := fnv.New32a()
	h.Write([]byte(host)) // never fails
	s := h.Sum32()
	return uint8(s ^ s>>8 ^ s>>16 ^ s>>24)
}

// buildAttached says what hosts the object brings to which bind.
func (rs *rules) buildAttached(rd *graph.Reader, ref model.Ref) attached {
	switch o := rs.objects.Read(rd, ref).(type) {
	case *model.Gateway:
		return rs.attachGateway(rd, o)
	case *model.RouteSet:
		return rs.attachRouteSet(rd, o)
	}
	return attached{}
}

// attachGateway opens the binds of a gateway and claims the hosts of its redirect
// servers. Plain servers of a bind share its hosts, whoever was there first: the
// rules bound to any of them count, and the redirect of any holds.
//
// Source: Istio merges the plain HTTP servers of a port.
func (rs *rules) attachGateway(rd *graph.Reader, gw *model.Gateway) (a attached) {
	for i := range gw.Servers {
		s := &gw.Servers[i]
		class := rs.class.Read(rd, s.Bind)
		if kindOf(s) != class.kind {
			a.faults = append(a.faults, portConflict(gw, s, class))
			continue
		}
		if !slices.Contains(a.binds, s.Bind) {
			a.binds = append(a.binds, s.Bind)
		}
		if namesSNI(s) {
			a.addNames(rd, rs, sniOwner{gw, s, ""})
			continue
		}
		if class.kind != gateway.KindHTTP || !s.HTTPSRedirect {
			continue
		}
		for _, h := range s.Hosts {
			a.entries = append(a.entries, attachment{table: model.Table{Bind: s.Bind}, host: h.DNS, by: gw.Ref, gateway: gatewayRef(gw), redirect: true})
		}
	}
	a.entries = append(a.entries, rs.challengeAttachments(rd, gw)...)
	return a
}

// addNames claims the names of a server that tells its clients apart by them. A
// host without a rule is still its own: it answers 404, not 421.
func (a *attached) addNames(rd *graph.Reader, rs *rules, me sniOwner) {
	for _, h := range me.server.Hosts {
		if p := rs.nameConflict(rd, me, h); p != nil {
			a.faults = append(a.faults, *p)
			if p.Severity == model.SeverityError {
				continue
			}
		}
		if !isHTTP(me.server) {
			continue
		}
		if table, ok := rs.homeOf(rd, me.server, h.DNS); ok {
			a.entries = append(a.entries, attachment{table: table, host: h.DNS, by: me.gateway.Ref, gateway: gatewayRef(me.gateway)})
		}
	}
}

func gatewayRef(gw *model.Gateway) model.GatewayRef {
	return model.GatewayRef{Namespace: gw.Ref.Namespace, Name: gw.Ref.Name}
}

// attachRouteSet pairs the hosts of a route set with the servers of its
// gateways: the narrower of the two names is what is served.
func (rs *rules) attachRouteSet(rd *graph.Reader, set *model.RouteSet) (a attached) {
	if len(set.Gateways) > 0 && !set.ExportTo.Shows(rs.fleet.Namespace) {
		a.faults = append(a.faults, model.Problem{
			Object: set.Ref, Field: "spec.exportTo", Reason: model.ReasonNotVisible, Severity: model.SeverityWarning,
			Message: fmt.Sprintf("it is not exported to namespace %s, in which the gateway runs, so nothing of it is served; add %q to exportTo", rs.fleet.Namespace, rs.fleet.Namespace),
		})
		return a
	}
	p := newPlacement(set)
	found := false
	for i, g := range set.Gateways {
		gw, ok := rs.objects.Read(rd, gatewayObject(g)).(*model.Gateway)
		if !ok {
			a.faults = append(a.faults, model.Problem{
				Object: set.Ref, Field: fmt.Sprintf("spec.gateways[%d]", i), Reason: model.ReasonGatewayNotFound, Severity: model.SeverityError,
				Message: fmt.Sprintf("there is no Gateway %s/%s; create it or correct the name", g.Namespace, g.Name),
			})
			continue
		}
		found = true
		p.gateway = gw
		for j := range gw.Servers {
			a.entries = append(a.entries, rs.attachServer(rd, p, &gw.Servers[j])...)
		}
	}
	slices.SortFunc(a.entries, compareAttachment)
	a.entries = slices.Compact(a.entries)
	if found {
		a.faults = append(a.faults, p.faults()...)
	}
	return a
}

func gatewayObject(g model.GatewayRef) model.Ref {
	return model.Ref{Group: "networking.istio.io", Kind: "Gateway", Namespace: g.Namespace, Name: g.Name}
}

func (rs *rules) attachServer(rd *graph.Reader, p placement, s *model.Server) (out []attachment) {
	kind := rs.class.Read(rd, s.Bind).kind
	for _, sh := range s.Hosts {
		if sh.Namespace != "" && sh.Namespace != p.set.Ref.Namespace {
			continue
		}
		p.meetNames(s, sh.DNS)
		for i, h := range p.set.Hosts {
			narrow, ok := model.Narrower(h, sh.DNS)
			if !ok {
				continue
			}
			p.meet(i, s)
			if kindOf(s) != kind {
				continue // reported on the gateway
			}
			if at, ok := rs.attachHost(rd, p, spot{s, sh.DNS, narrow}); ok {
				p.fates[i].placed = true
				out = append(out, at)
			}
		}
	}
	return out
}

// spot is a host of a route set under a name of a server.
type spot struct {
	server     *model.Server
	name, host string
}

// attachHost returns what a route set brings to a host of a server; nothing if it
// has no rule for what is spoken there, or if clients that name the host reach
// another server.
func (rs *rules) attachHost(rd *graph.Reader, p placement, at spot) (attachment, bool) {
	out := attachment{table: model.Table{Bind: at.server.Bind}, by: p.set.Ref, gateway: gatewayRef(p.gateway)}
	s := at.server
	if isHTTP(s) {
		home, ok := rs.homeOf(rd, s, at.name)
		out.table, out.host, out.redirect = home, at.host, s.HTTPSRedirect && s.TLS == nil
		return out, ok && rs.reachable(rd, home, at.host) && p.follows(s)
	}
	if s.TLS != nil && rs.coveringOwner(rd, s.Bind, at.host).server != s {
		return out, false
	}
	out.stream = true
	return out, p.follows(s)
}
