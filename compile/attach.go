package compile

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/model"
)

// attachment is a host that an object brings to a bind.
type attachment struct {
	bind model.Bind
	host string
	by   model.Ref // the route set, or the gateway itself for a redirect
	// gateway is the gateway through which the route set came.
	gateway  model.GatewayRef
	redirect bool // the server answers plain HTTP with a redirect to https
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

func compareAttachment(a, b attachment) int {
	redirect := 0
	if a.redirect != b.redirect {
		redirect = 1
		if b.redirect {
			redirect = -1
		}
	}
	return cmp.Or(
		a.by.Compare(b.by),
		strings.Compare(a.gateway.Namespace, b.gateway.Namespace),
		strings.Compare(a.gateway.Name, b.gateway.Name),
		compareBind(a.bind, b.bind),
		strings.Compare(a.host, b.host),
		redirect,
	)
}

// reindexAttached keeps the indexes of attachments.
func (rs *rules) reindexAttached(before, after attached) {
	b, a := placesOf(before), placesOf(after)
	rs.binds.replace(b.binds, a.binds)
	rs.hosts.replace(b.hosts, a.hosts)
	rs.buckets.replace(b.buckets, a.buckets)
	rs.wild.replace(b.wild, a.wild)
	rs.bindings.replace(b.bindings, a.bindings)
}

// attachedPlaces are the places of one object's attachments in the indexes.
type attachedPlaces struct {
	binds    []entry[none, model.Bind]
	hosts    []entry[model.Bind, string]
	buckets  []entry[bucketKey, string]
	wild     []entry[model.Bind, string]
	bindings []entry[hostKey, attachment]
}

func placesOf(a attached) (p attachedPlaces) {
	for _, b := range a.binds {
		p.binds = append(p.binds, entry[none, model.Bind]{none{}, b})
	}
	for _, at := range a.entries {
		p.hosts = append(p.hosts, entry[model.Bind, string]{at.bind, at.host})
		p.buckets = append(p.buckets, entry[bucketKey, string]{bucketKey{at.bind, bucketOf(at.host)}, at.host})
		p.bindings = append(p.bindings, entry[hostKey, attachment]{hostKey{at.bind, at.host}, at})
		if strings.HasPrefix(at.host, "*") {
			p.wild = append(p.wild, entry[model.Bind, string]{at.bind, at.host})
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
func (rs *rules) buildAttached(rd *reader, ref model.Ref) attached {
	switch o := rs.objects.read(rd, ref).(type) {
	case *model.Gateway:
		return rs.attachGateway(rd, o)
	case *model.RouteSet:
		return rs.attachRouteSet(rd, o)
	}
	return attached{}
}

// attachGateway opens the binds of a gateway, claims the hosts of its redirect
// servers, and reports the hosts that an older gateway holds.
func (rs *rules) attachGateway(rd *reader, gw *model.Gateway) (a attached) {
	for i := range gw.Servers {
		s := &gw.Servers[i]
		if !slices.Contains(a.binds, s.Bind) {
			a.binds = append(a.binds, s.Bind)
		}
		for _, h := range s.Hosts {
			if owner := rs.hostOwner(rd, s.Bind, h); owner != gw.Ref {
				a.faults = append(a.faults, model.Problem{
					Object: gw.Ref, Field: s.Field + ".hosts", Reason: model.ReasonHostConflict, Severity: model.SeverityError,
					Message: fmt.Sprintf("host %q on %v belongs to the older %v; remove it from one of the two", h.DNS, s.Bind, owner),
				})
				continue
			}
			if s.HTTPSRedirect {
				a.entries = append(a.entries, attachment{bind: s.Bind, host: h.DNS, by: gw.Ref, gateway: gatewayRef(gw), redirect: true})
			}
		}
	}
	return a
}

func gatewayRef(gw *model.Gateway) model.GatewayRef {
	return model.GatewayRef{Namespace: gw.Ref.Namespace, Name: gw.Ref.Name}
}

// hostOwner returns the oldest gateway with a host on a bind.
func (rs *rules) hostOwner(rd *reader, bind model.Bind, h model.ServerHost) model.Ref {
	var oldest *model.Gateway
	for _, ref := range rs.serversByHost.read(rd, serverHostKey{bind, h}) {
		gw, ok := rs.objects.read(rd, ref).(*model.Gateway)
		if ok && (oldest == nil || gw.Older(&oldest.Meta)) {
			oldest = gw
		}
	}
	if oldest == nil {
		return model.Ref{}
	}
	return oldest.Ref
}

// attachRouteSet pairs the hosts of a route set with the servers of its
// gateways: the narrower of the two names is what is served.
func (rs *rules) attachRouteSet(rd *reader, set *model.RouteSet) (a attached) {
	placed := make([]bool, len(set.Hosts))
	found := false
	for i, g := range set.Gateways {
		gw, ok := rs.objects.read(rd, gatewayObject(g)).(*model.Gateway)
		if !ok {
			a.faults = append(a.faults, model.Problem{
				Object: set.Ref, Field: fmt.Sprintf("spec.gateways[%d]", i), Reason: model.ReasonGatewayNotFound, Severity: model.SeverityError,
				Message: fmt.Sprintf("there is no Gateway %s/%s; create it or correct the name", g.Namespace, g.Name),
			})
			continue
		}
		found = true
		for j := range gw.Servers {
			a.entries = append(a.entries, rs.attachServer(rd, set, gw, &gw.Servers[j], placed)...)
		}
	}
	slices.SortFunc(a.entries, compareAttachment)
	a.entries = slices.Compact(a.entries)
	if !found {
		return a
	}
	for i, ok := range placed {
		if !ok {
			a.faults = append(a.faults, model.Problem{
				Object: set.Ref, Field: fmt.Sprintf("spec.hosts[%d]", i), Reason: model.ReasonHostNotInGateway, Severity: model.SeverityError,
				Message: fmt.Sprintf("no server of its gateways serves host %q to namespace %s; add it to the hosts of a server", set.Hosts[i], set.Ref.Namespace),
			})
		}
	}
	return a
}

func gatewayObject(g model.GatewayRef) model.Ref {
	return model.Ref{Group: "networking.istio.io", Kind: "Gateway", Namespace: g.Namespace, Name: g.Name}
}

func (rs *rules) attachServer(rd *reader, set *model.RouteSet, gw *model.Gateway, s *model.Server, placed []bool) (out []attachment) {
	for _, sh := range s.Hosts {
		if sh.Namespace != "" && sh.Namespace != set.Ref.Namespace {
			continue
		}
		owned := false
		for i, h := range set.Hosts {
			narrow, ok := intersect(h, sh.DNS)
			if !ok {
				continue
			}
			if !owned && rs.hostOwner(rd, s.Bind, sh) != gw.Ref {
				break // reported on the gateway
			}
			owned, placed[i] = true, true
			out = append(out, attachment{bind: s.Bind, host: narrow, by: set.Ref, gateway: gatewayRef(gw), redirect: s.HTTPSRedirect})
		}
	}
	return out
}

// intersect returns the narrower of two host names if one covers the other:
// "*" covers all, "*.example.com" covers every name that ends in
// ".example.com", an exact name only itself.
func intersect(a, b string) (string, bool) {
	switch {
	case covers(a, b):
		return b, true
	case covers(b, a):
		return a, true
	}
	return "", false
}

func covers(wide, narrow string) bool {
	if wide == narrow || wide == "*" {
		return true
	}
	return strings.HasPrefix(wide, "*.") && strings.HasSuffix(narrow, wide[1:])
}
