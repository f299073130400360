package xds

import (
	"maps"
	"slices"
	"strconv"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/sluicegw/sluice/model"
)

// all is the name that subscribes to every resource of a type.
const all = "*"

// subscription is what a stream asked for of one type, and what it has of it.
type subscription struct {
	typ      model.ResourceType
	wildcard bool
	// opened is the last response of the answer to the first request.
	opened uint64
	// have holds every name that was asked for by name, and every name that
	// the proxy may hold a resource of.
	have map[string]holding
}

// holding is one name of a subscription.
type holding struct {
	sent  *model.Resource // on its way or there; nil: the proxy is told there is none
	taken *model.Resource // the last version acknowledged
	named bool            // asked for by name
	stale bool            // the proxy brought a version that the store does not know
}

// wanted reports whether the proxy is to be told about name.
func (sub *subscription) wanted(name string) bool {
	return sub.wildcard || sub.have[name].named
}

// version is the xDS version of a resource.
func version(r *model.Resource) string { return strconv.FormatUint(r.Hash, 16) }

// handle works through one request of the proxy: what it answers, what it no
// longer wants, what it asks for.
func (s *stream) handle(req *discovery.DeltaDiscoveryRequest) {
	t := model.ResourceType(req.GetTypeUrl())
	s.answered(t, req)
	sub := s.subs[t]
	opens := sub == nil
	if opens {
		sub = &subscription{typ: t, have: make(map[string]holding)}
		s.subs[t] = sub
	}
	s.unsubscribe(sub, req.GetResourceNamesUnsubscribe())
	s.subscribe(sub, req, opens)
}

func (s *stream) unsubscribe(sub *subscription, names []string) {
	var again []string
	for _, name := range names {
		h := sub.have[name]
		switch {
		case name == all && wildcard(sub.typ):
			sub.wildcard = false
			maps.DeleteFunc(sub.have, func(_ string, h holding) bool { return !h.named })
		case !h.named:
		case sub.wildcard:
			// Still covered: the protocol wants to hear of it once more.
			h.named = false
			sub.have[name] = h
			again = append(again, name)
		default:
			s.forget(sub, name)
		}
	}
	if len(again) > 0 {
		s.send(s.reply(sub, again, nil))
	}
}

// forget drops what the stream knows of a name that the proxy let go.
func (s *stream) forget(sub *subscription, name string) {
	n := model.ResourceName{Type: sub.typ, Name: name}
	delete(sub.have, name)
	delete(s.wants, n)
	if onDemand(n) {
		s.view.drop(name)
	}
	switch sub.typ {
	case model.TypeEndpoint:
		delete(s.force, name)
	case model.TypeListener:
		delete(s.retries, name)
	}
}

// subscribe answers at once what the proxy asks for. A first request without
// names asks for everything, where that is possible.
func (s *stream) subscribe(sub *subscription, req *discovery.DeltaDiscoveryRequest, opens bool) {
	asked := req.GetResourceNamesSubscribe()
	everything := opens && len(asked) == 0 && wildcard(sub.typ)
	names := make([]string, 0, len(asked))
	for _, name := range asked {
		if name == all && wildcard(sub.typ) {
			everything = true
			continue
		}
		h := sub.have[name]
		h.named = true
		sub.have[name] = h
		if onDemand(model.ResourceName{Type: sub.typ, Name: name}) {
			s.view.ask(name)
			s.srv.request(name)
		}
		names = append(names, name)
	}
	var versions map[string]string
	if opens {
		versions = req.GetInitialResourceVersions()
	}
	if everything {
		sub.wildcard = true
		names = append(names, s.view.names(sub.typ)...)
		names = slices.AppendSeq(names, maps.Keys(versions))
		slices.Sort(names)
		names = slices.Compact(names)
	}
	b := s.reply(sub, names, versions)
	b.empty = opens && len(versions) == 0 && (everything || len(asked) == 0)
	s.send(b)
	if opens {
		sub.opened = s.seq
	}
}

// reply returns what the proxy is told about names: what it does not have in
// the version of the view, given the versions it brought along, and which names
// do not exist.
func (s *stream) reply(sub *subscription, names []string, versions map[string]string) batch {
	b := batch{typ: sub.typ}
	var matched []*model.Resource
	for i, x := range s.look(sub.typ, names) {
		name := names[i]
		had, brought := versions[name]
		h, known := sub.have[name]
		switch {
		case x.res != nil && brought && had == version(x.res) && !s.forced(sub.typ, name):
			h.sent = x.res
			sub.have[name] = h
			matched = append(matched, x.res)
		case x.res != nil && brought && s.keepsBrought(sub, name, had, false):
		case x.res != nil:
			b.resources = append(b.resources, x.res)
		case (brought || h.stale) && (x.later || x.withheld):
			h.stale = true // the proxy keeps what it has
			sub.have[name] = h
		case x.later:
		case brought && s.keepsBrought(sub, name, had, true):
		case brought || known:
			b.removed = append(b.removed, name)
		}
	}
	s.took(matched)
	return b
}

// look returns what the proxy may see of names now: the view, but without what
// a round has not yet come to.
func (s *stream) look(t model.ResourceType, names []string) []seen {
	out := s.view.look(t, names)
	r := s.round
	if r == nil || !r.early || !late(t) {
		return out
	}
	for i, name := range names {
		if old, ok := r.old[model.ResourceName{Type: t, Name: name}]; ok {
			out[i] = seen{res: old, later: old == nil}
		}
	}
	return out
}

func (s *stream) forced(t model.ResourceType, name string) bool {
	_, ok := s.force[name]
	return ok && t == model.TypeEndpoint
}
