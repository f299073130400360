package xds

import (
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/sluicegw/sluice/model"
)

// anyScope stands for the subscription to scopes as something that is needed.
func anyScope() model.ResourceName {
	return model.ResourceName{Type: model.TypeScope, Name: all}
}

// answered takes the proxy's answer to a response, if req is one.
func (s *stream) answered(t model.ResourceType, req *discovery.DeltaDiscoveryRequest) {
	seq, err := strconv.ParseUint(req.GetResponseNonce(), 10, 64)
	if err != nil {
		return
	}
	i := slices.IndexFunc(s.flight, func(r *response) bool { return r.seq == seq && r.typ == t })
	if i < 0 {
		return
	}
	resp := s.flight[i]
	s.flight = slices.Delete(s.flight, i, i+1)
	if detail := req.GetErrorDetail(); detail != nil {
		s.srv.counts.nack(t)
		s.nacked(resp, detail.GetMessage())
	} else {
		s.srv.counts.acks.Add(1)
		s.took(resp.resources)
	}
	if t == model.TypeScope {
		delete(s.wants, anyScope())
	}
}

// took notes that the proxy has the resources, and what it will ask for next.
func (s *stream) took(rs []*model.Resource) {
	for _, r := range rs {
		sub := s.subs[r.Type]
		h, ok := sub.have[r.Name]
		if !ok {
			continue
		}
		h.taken, h.stale = r, false
		sub.have[r.Name] = h
		delete(s.wants, r.ResourceName)
		if !alias(r) {
			for _, n := range r.Needs {
				s.want(n)
			}
		}
		if r.Type == model.TypeListener {
			s.tookListener(r)
		}
	}
	if len(rs) > 0 && s.srv.store.take(s.ses, rs) {
		s.report()
	}
}

func (s *stream) tookListener(r *model.Resource) {
	if rt := s.retries[r.Name]; rt != nil && rt.hash == r.Hash {
		delete(s.retries, r.Name)
	}
	// No listener says that it reads scopes, but scopes are there only because
	// one does. Envoy subscribes to them once per stream.
	if s.subs[model.TypeScope] == nil && !s.scopesAwaited && len(s.view.names(model.TypeScope)) > 0 {
		s.scopesAwaited = true
		s.await(anyScope())
	}
}

func (s *stream) subscribed(n model.ResourceName) bool {
	sub := s.subs[n.Type]
	return sub != nil && sub.wanted(n.Name)
}

// want notes that the proxy is about to ask for n, if n is there and the proxy
// does not have it.
func (s *stream) want(n model.ResourceName) {
	if _, waiting := s.wants[n]; waiting {
		return
	}
	if sub := s.subs[n.Type]; sub != nil && sub.have[n.Name].taken != nil {
		return
	}
	if s.look(n.Type, []string{n.Name})[0].res != nil {
		s.await(n)
	}
}

func (s *stream) await(n model.ResourceName) {
	at := time.Now().Add(s.srv.opts.NeedTimeout)
	if len(s.wants) == 0 {
		s.wantsDue = at
	}
	s.wants[n] = at
}

// clear reports whether the next step may go: everything sent up to the last
// one is answered, and everything needed is there.
func (s *stream) clear() bool {
	if len(s.wants) > 0 {
		return false
	}
	for _, r := range s.flight {
		if r.seq > s.round.mark {
			break
		}
		if !r.free && !s.cold(r) {
			return false
		}
	}
	return true
}

// cold reports whether r brought clusters that take too long to warm up: the
// round goes on without them.
func (s *stream) cold(r *response) bool {
	return r.typ == model.TypeCluster && time.Since(r.at) >= s.srv.opts.WarmTimeout
}

// nacked narrows a refused response down to the resources at fault. A response
// with one resource settles it; otherwise the suspects are sent again, each
// alone, and the steps after wait for their answers too.
//
// Source: measured on Envoy 1.40: of clusters and listeners the good ones are
// applied and the error names the others; for other types it names nothing.
func (s *stream) nacked(resp *response, detail string) {
	level := slog.LevelWarn
	if s.retried(resp) {
		level = slog.LevelDebug // it was said when it was first refused
	}
	s.log.Log(s.rpc.Context(), level, "response rejected", "type", resp.typ.Short(), "resources", len(resp.resources), "detail", detail)
	switch len(resp.resources) {
	case 0:
		return
	case 1:
		s.refused(resp.resources[0], detail)
		return
	}
	suspects, good := blame(resp, detail)
	s.took(good)
	sub := s.subs[resp.typ]
	suspects = slices.DeleteFunc(suspects, func(r *model.Resource) bool { return sub.have[r.Name].sent != r })
	s.send(batch{typ: resp.typ, resources: suspects, alone: true, free: resp.free})
	if resp.seq <= sub.opened {
		sub.opened = s.seq
	}
	if s.round != nil && resp.seq <= s.round.mark {
		s.round.mark = s.seq
	}
}

// blame parts the resources of a refused response into those that may be at
// fault and those that the proxy took.
func blame(resp *response, detail string) (suspects, good []*model.Resource) {
	if resp.typ == model.TypeCluster || resp.typ == model.TypeListener {
		for _, r := range resp.resources {
			if mentions(detail, r.Name) {
				suspects = append(suspects, r)
			} else {
				good = append(good, r)
			}
		}
	}
	if len(suspects) == 0 {
		return slices.Clone(resp.resources), nil
	}
	return suspects, good
}

// mentions reports whether Envoy's words blame name: "…(s) a: why, b: why" for
// clusters, a line each for listeners.
func mentions(detail, name string) bool {
	for rest := detail; ; {
		i := strings.Index(rest, name+": ")
		if i < 0 {
			return false
		}
		if i == 0 || rest[i-1] == ' ' || rest[i-1] == '\n' {
			return true
		}
		rest = rest[i+len(name):]
	}
}

// refused notes that the proxy will not have r: it stays with the version
// before. The version is withdrawn from service, unless the fault lies with the
// address of a listener, which may become free.
func (s *stream) refused(r *model.Resource, detail string) {
	sub := s.subs[r.Type]
	h, ok := sub.have[r.Name]
	if !ok {
		return
	}
	delete(s.wants, r.ResourceName)
	if h.sent == r {
		h.sent = h.taken
		h.stale = h.stale || h.taken == nil
		sub.have[r.Name] = h
	}
	j := Rejection{
		Resource: published(r).ResourceName, Hash: r.Hash, Detail: detail, At: s.srv.opts.Now(),
		Bind: r.Type == model.TypeListener && bindFailed(detail),
	}
	if h.taken != nil {
		j.Serving = h.taken.Hash
	}
	if j.Bind {
		s.retryLater(r)
	}
	if s.srv.store.refuse(s.ses, j, !j.Bind) {
		s.report()
	}
}

// retried reports whether resp was another try of a listener whose address is
// taken.
func (s *stream) retried(resp *response) bool {
	if len(resp.resources) != 1 || resp.typ != model.TypeListener {
		return false
	}
	r := resp.resources[0]
	rt := s.retries[r.Name]
	return rt != nil && rt.hash == r.Hash
}

// bindFailed reports whether Envoy could not take a listener's address, which
// is no fault of the listener. A duplicate address is that of a listener which
// leaves at the end of the round.
func bindFailed(detail string) bool {
	for _, words := range []string{"cannot bind", "Address already in use", "Permission denied", "duplicate address"} {
		if strings.Contains(detail, words) {
			return true
		}
	}
	return false
}

// retry is a listener that waits for its address.
type retry struct {
	hash    uint64
	attempt int
	at      time.Time // zero while an attempt is on its way
}

func (s *stream) retryLater(r *model.Resource) {
	rt := s.retries[r.Name]
	if rt == nil || rt.hash != r.Hash {
		rt = &retry{hash: r.Hash}
		s.retries[r.Name] = rt
	}
	rt.attempt++
	pause := min(time.Duration(rt.attempt)*s.srv.opts.RetryBind.First, s.srv.opts.RetryBind.Max)
	rt.at = time.Now().Add(pause)
}

// due returns when the stream has to look at its waits again; zero is never.
func (s *stream) due() time.Time {
	var at time.Time
	if len(s.wants) > 0 {
		at = s.wantsDue
	}
	for _, r := range s.flight {
		if s.round == nil && s.left == nil || r.typ != model.TypeCluster || r.free || s.cold(r) {
			continue
		}
		if warm := r.at.Add(s.srv.opts.WarmTimeout); at.IsZero() || warm.Before(at) {
			at = warm
		}
	}
	for _, rt := range s.retries {
		if !rt.at.IsZero() && (at.IsZero() || rt.at.Before(at)) {
			at = rt.at
		}
	}
	return at
}

func (s *stream) expireWants(now time.Time) {
	var given int
	var example model.ResourceName
	s.wantsDue = time.Time{}
	for n, at := range s.wants {
		switch {
		case !at.After(now):
			delete(s.wants, n)
			given, example = given+1, n
		case s.wantsDue.IsZero() || at.Before(s.wantsDue):
			s.wantsDue = at
		}
	}
	if given > 0 {
		s.srv.counts.needTimeouts.Add(uint64(given))
		s.log.Warn("needed resources not taken in time", "count", given,
			"type", example.Type.Short(), "name", example.Name)
	}
}

// expire gives up on needs that the proxy never asked for, and sends listeners
// again whose pause is over.
func (s *stream) expire(now time.Time) {
	s.expireWants(now)
	for name, rt := range s.retries {
		if rt.at.IsZero() || rt.at.After(now) {
			continue
		}
		rt.at = time.Time{}
		r := s.look(model.TypeListener, []string{name})[0].res
		if r == nil || r.Hash != rt.hash || !s.subscribed(r.ResourceName) {
			delete(s.retries, name)
			continue
		}
		s.send(batch{typ: model.TypeListener, resources: []*model.Resource{r}, free: true})
	}
}
