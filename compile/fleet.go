package compile

import (
	"fmt"
	"slices"

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
}

// The classes of servers that can share a bind.
const (
	classHTTP   = "plain HTTP"
	classStream = "TCP and TLS passthrough"
	classUDP    = "UDP"
)

// classOf returns the class of a server.
func classOf(s *model.Server) string {
	switch {
	case s.Protocol.IsHTTP():
		return classHTTP
	case s.Protocol == model.ProtocolUDP:
		return classUDP
	}
	return classStream
}

// serverClass is what is spoken on a bind, and who says so.
type serverClass struct {
	name  string
	owner model.Ref
}

// findClass lets the oldest gateway of a bind decide what is spoken there.
func (rs *rules) findClass(rd *reader, bind model.Bind) serverClass {
	var oldest *model.Gateway
	for _, ref := range rs.gatewaysByBind.read(rd, bind) {
		gw, ok := rs.objects.read(rd, ref).(*model.Gateway)
		if ok && (oldest == nil || gw.Older(&oldest.Meta)) {
			oldest = gw
		}
	}
	if oldest == nil {
		return serverClass{}
	}
	for i := range oldest.Servers {
		if s := &oldest.Servers[i]; s.Bind == bind {
			return serverClass{name: classOf(s), owner: oldest.Ref}
		}
	}
	return serverClass{}
}

func portConflict(gw *model.Gateway, s *model.Server, class serverClass) model.Problem {
	return model.Problem{
		Object: gw.Ref, Field: s.Field + ".port", Reason: model.ReasonPortConflict, Severity: model.SeverityError,
		Message: fmt.Sprintf("%v speaks %s since the older %v, so this server for %s is not opened; choose another port or protocol",
			s.Bind, class.name, class.owner, s.Protocol),
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

func (rs *rules) expand(rd *reader, ref model.Ref) (e expansion) {
	set, _ := rs.objects.read(rd, ref).(*model.RouteSet)
	if set != nil {
		e.set, e.faults = delegate.Expand(set, rs.delegates(rd, set))
	}
	return e
}

// delegates finds the route sets that a set delegates to: those that are
// visible in its namespace.
func (rs *rules) delegates(rd *reader, root *model.RouteSet) func(model.Delegate) *model.RouteSet {
	return func(d model.Delegate) *model.RouteSet {
		ref := root.Ref
		ref.Namespace, ref.Name = d.Namespace, d.Name
		child, _ := rs.objects.read(rd, ref).(*model.RouteSet)
		if child == nil || !child.ExportTo.Shows(root.Ref.Namespace) {
			return nil
		}
		return child
	}
}
