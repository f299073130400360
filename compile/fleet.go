package compile

import (
	"fmt"
	"slices"

	"github.com/sluicegw/sluice/compile/graph"
	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/routing/delegate"
)

// Fleet is what the proxies are, as far as objects speak of it.
type Fleet struct {
	// Namespace decides what is visible (exportTo) and which policies go first.
	Namespace string
	// RootNamespace holds the policies for everybody.
	RootNamespace string
	Labels        map[string]string
	Locality      model.Locality
	// ACME is nil when no certificates come by themselves.
	ACME *ACME
}

// kindOf returns the kind of listener that a server needs.
func kindOf(s *model.Server) gateway.PortKind { return gateway.Kind(s.Protocol) }

// serverClass is what is spoken on a bind, and who says so.
type serverClass struct {
	kind  gateway.PortKind
	proto model.Protocol
	owner model.Ref
}

// findClass lets the oldest gateway of a bind decide what is spoken there.
func (rs *rules) findClass(rd *graph.Reader, bind model.Bind) serverClass {
	var oldest *model.Gateway
	for _, ref := range rs.gatewaysByBind.Read(rd, bind) {
		gw, ok := rs.objects.Read(rd, ref).(*model.Gateway)
		if ok && (oldest == nil || gw.Older(&oldest.Meta)) {
			oldest = gw
		}
	}
	if oldest == nil {
		return serverClass{}
	}
	for i := range oldest.Servers {
		if s := &oldest.Servers[i]; s.Bind == bind {
			return serverClass{kind: kindOf(s), proto: s.Protocol, owner: oldest.Ref}
		}
	}
	return serverClass{}
}

func portConflict(gw *model.Gateway, s *model.Server, class serverClass) model.Problem {
	return model.Problem{
		Object: gw.Ref, Field: s.Field + ".port", Reason: model.ReasonPortConflict, Severity: model.SeverityError,
		Message: fmt.Sprintf("%v speaks %s since the older %v, so this server for %s is not opened; choose another port or protocol",
			s.Bind, class.proto, class.owner, s.Protocol),
	}
}

// expansion is a route set with the rules of its delegates in place; nil for
// what is no route set.
type expansion struct {
	set    *model.RouteSet
	faults []model.Problem
}

func (e expansion) resources() []*model.Resource { return nil }
func (e expansion) problems() []model.Problem    { return e.faults }

func (e expansion) equal(o expansion) bool {
	return e.set == o.set && slices.Equal(e.faults, o.faults)
}

func (rs *rules) expand(rd *graph.Reader, ref model.Ref) (e expansion) {
	set, _ := rs.objects.Read(rd, ref).(*model.RouteSet)
	if set != nil {
		e.set, e.faults = delegate.Expand(set, rs.delegates(rd, set))
	}
	return e
}

// delegates finds the route sets that a set delegates to: those that are
// visible in its namespace.
func (rs *rules) delegates(rd *graph.Reader, root *model.RouteSet) func(model.Delegate) *model.RouteSet {
	return func(d model.Delegate) *model.RouteSet {
		ref := root.Ref
		ref.Namespace, ref.Name = d.Namespace, d.Name
		child, _ := rs.objects.Read(rd, ref).(*model.RouteSet)
		if child == nil || !child.ExportTo.Shows(root.Ref.Namespace) {
			return nil
		}
		return child
	}
}
