package xds

import (
	"slices"
	"strconv"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluicegw/sluice/model"
)

// The bounds of one response. A resource larger than the second goes alone.
const (
	maxResponseResources = 1000
	maxResponseBytes     = 4 << 20
)

// batch is what a stream wants to send of one type at once.
type batch struct {
	typ       model.ResourceType
	resources []*model.Resource
	removed   []string
	alone     bool // one resource per response
	free      bool // no step waits for the answer
	empty     bool // say so when there is nothing
}

// response is one message that the proxy has not answered yet.
type response struct {
	seq       uint64 // its nonce
	typ       model.ResourceType
	resources []*model.Resource
	// floor is the generation that was complete when the response was sent:
	// while it is unanswered, nothing later counts as acknowledged.
	floor Generation
	free  bool
	at    time.Time // sent
}

// send sends b in as many responses as its size asks for, without waiting
// between them. After an error of the stream it does nothing.
func (s *stream) send(b batch) {
	rs, removed := s.bindable(b), b.removed
	if len(rs)+len(removed) == 0 && !b.empty {
		return
	}
	for first := true; first || len(rs)+len(removed) > 0; first = false {
		n := cut(rs, b.alone)
		gone := removed[:min(len(removed), maxResponseResources-n)]
		if n < len(rs) || b.alone && n > 0 {
			gone = nil
		}
		s.sendOne(b, rs[:n], gone)
		rs, removed = rs[n:], removed[len(gone):]
	}
	if b.typ == model.TypeCluster {
		s.warm(b.resources)
	}
}

// bindable returns the resources of b without the listeners that are new to the
// proxy and whose address somebody else holds. Envoy itself might not notice: it
// shares addresses with other processes.
func (s *stream) bindable(b batch) []*model.Resource {
	if b.typ != model.TypeListener || s.srv.opts.Busy == nil {
		return b.resources
	}
	sub := s.subs[b.typ]
	return slices.DeleteFunc(slices.Clone(b.resources), func(r *model.Resource) bool {
		if sub.have[r.Name].taken != nil {
			return false
		}
		detail := s.srv.opts.Busy(r)
		if detail == "" {
			return false
		}
		if s.retries[r.Name] == nil {
			s.log.Warn("listener withheld", "name", r.Name, "detail", detail)
		}
		s.note(b.typ, []*model.Resource{r}, nil)
		s.refused(r, detail)
		return true
	})
}

// warm sends the endpoints of clusters right after them, even unchanged, where
// the proxy already subscribes to them. Envoy warms a cluster that is new or
// replaced until it hears of its endpoints, does not ask again for a name that
// it already asked for, and acknowledges the clusters only when all are warm.
//
// Source: measured on Envoy 1.40, which otherwise waits for the 15 s of the
// cluster's initial fetch timeout.
func (s *stream) warm(clusters []*model.Resource) {
	var names []string
	for _, r := range clusters {
		for _, n := range r.Needs {
			if s.forced(n.Type, n.Name) && s.subscribed(n) {
				names = append(names, n.Name)
			}
		}
	}
	b := batch{typ: model.TypeEndpoint}
	for _, x := range s.look(model.TypeEndpoint, names) {
		if x.res != nil {
			b.resources = append(b.resources, x.res)
		}
	}
	s.send(b)
}

// cut returns how many of rs fit into one response.
func cut(rs []*model.Resource, alone bool) int {
	size := 0
	for i, r := range rs {
		size += len(r.Bytes)
		if i > 0 && (alone || i == maxResponseResources || size > maxResponseBytes) {
			return i
		}
	}
	return len(rs)
}

func (s *stream) sendOne(b batch, rs []*model.Resource, removed []string) {
	if s.err != nil {
		return
	}
	s.seq++
	msg := &discovery.DeltaDiscoveryResponse{
		TypeUrl:          string(b.typ),
		Nonce:            strconv.FormatUint(s.seq, 10),
		Resources:        make([]*discovery.Resource, len(rs)),
		RemovedResources: removed,
	}
	size := 0
	for i, r := range rs {
		msg.Resources[i] = &discovery.Resource{
			Name: r.Name, Version: version(r),
			Resource: &anypb.Any{TypeUrl: string(r.Type), Value: wire(r)},
		}
		size += len(r.Bytes)
	}
	s.note(b.typ, rs, removed)
	s.flight = append(s.flight, &response{
		seq: s.seq, typ: b.typ, resources: rs, floor: s.complete,
		at:   time.Now(),
		free: b.free || len(rs) == 0 && !b.empty && !s.removing(),
	})
	s.srv.counts.pushed(b.typ, pushed{resources: len(rs), removals: len(removed), bytes: size})
	s.err = s.rpc.Send(msg)
}

// removing reports whether a step of a round is being sent: then removals are
// waited for. The news that a name does not exist is not.
func (s *stream) removing() bool { return s.round != nil && s.round.sending }

// note updates what the proxy has to what is being sent.
func (s *stream) note(t model.ResourceType, rs []*model.Resource, removed []string) {
	sub := s.subs[t]
	for _, r := range rs {
		h := sub.have[r.Name]
		h.sent = r
		sub.have[r.Name] = h
		switch t {
		case model.TypeCluster:
			s.rewarm(r)
		case model.TypeEndpoint:
			delete(s.force, r.Name)
		case model.TypeListener:
			if rt := s.retries[r.Name]; rt != nil && rt.hash != r.Hash {
				delete(s.retries, r.Name)
			}
		}
	}
	for _, name := range removed {
		h := sub.have[name]
		if t == model.TypeCluster && h.sent != nil {
			s.rewarmed(h.sent)
		}
		if h.named {
			sub.have[name] = holding{named: true}
		} else {
			delete(sub.have, name)
		}
		delete(s.wants, model.ResourceName{Type: t, Name: name})
		if t == model.TypeListener {
			delete(s.retries, name)
		}
	}
}

// rewarm notes that the endpoints of a cluster have to be sent after it, even
// if the proxy has them; see warm.
func (s *stream) rewarm(cluster *model.Resource) {
	for _, n := range cluster.Needs {
		if n.Type == model.TypeEndpoint {
			s.force[n.Name] = struct{}{}
		}
	}
}

// rewarmed takes back what rewarm noted, as the cluster is gone.
func (s *stream) rewarmed(cluster *model.Resource) {
	for _, n := range cluster.Needs {
		if n.Type == model.TypeEndpoint {
			delete(s.force, n.Name)
		}
	}
}
