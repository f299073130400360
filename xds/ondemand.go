package xds

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sluicegw/sluice/model"
)

// This file answers for secrets by the name that a client sent.
//
// A filter chain that fetches certificates on demand asks for a secret named like
// the server name of the handshake, which is anything that anybody on the network
// writes there. What is published are hosts ([model.OnDemandName]). The longest
// published name that covers the asked one answers, under the asked name; a name
// that nothing covers is answered at once as not there, as the handshake waits.
// Names with a slash never come here.
//
// Nothing orders these secrets: no listener names them. So the answer is always
// the newest that is published, whatever the view shows.
//
// A wildcard may be published on request ([model.Resource.OnRequest]): what answers
// for a name below it is made when somebody asks. Whoever makes it is told the name,
// and the answer waits until it is published, or declined.

// maxServerName is the longest server name that TLS allows, in bytes.
const maxServerName = 255

// onDemand reports whether n is asked for and published by server name.
func onDemand(n model.ResourceName) bool {
	return n.Type == model.TypeSecret && !strings.Contains(n.Name, "/")
}

// covering yields the names of which the first that is published answers for an
// asked one: itself in lower case, its wildcards from the longest, "*". It yields
// nothing for what can be no host.
func covering(asked string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if len(asked) > maxServerName || strings.ContainsFunc(asked, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return
		}
		if asked == model.OnDemandNoName {
			asked = "*"
		}
		model.Covering(strings.ToLower(asked))(yield)
	}
}

// origin returns the published name that answers for an asked one, "" if none
// does. One that is withheld answers too, that there is nothing.
func (s *Store) origin(asked string) string {
	for name := range covering(asked) {
		if s.entries[model.TypeSecret][name] != nil {
			return name
		}
	}
	return ""
}

// answering returns the entry that streams get when they ask for n, nil if there
// is none.
func (s *Store) answering(n model.ResourceName) *entry {
	if onDemand(n) {
		n.Name = s.origin(n.Name)
	}
	e := s.entry(n)
	if e != nil && e.latest.OnRequest {
		return nil
	}
	return e
}

// request has the secret of an asked name made, if a wildcard offers that. The
// stream that asks gets no answer before it is.
func (s *Server) request(name string) {
	if s.opts.OnRequest == nil {
		return
	}
	lower := strings.ToLower(name)
	if wildcard := s.store.await(lower); wildcard != "" && !s.opts.OnRequest(lower, wildcard) {
		s.store.settle(lower)
	}
}

// await notes that the answer for an asked name, in lower case, has to wait, and
// returns the wildcard that has it made; "" if none does.
func (s *Store) await(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	origin := s.origin(name)
	if e := s.entries[model.TypeSecret][origin]; e == nil || !e.latest.OnRequest {
		return ""
	}
	s.awaited[name] = struct{}{}
	return origin
}

// Decline ends the wait for the secret of a name, in lower case, that is not made:
// whoever asked for it learns that there is none.
func (s *Store) Decline(name string) {
	if !s.settle(name) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := range s.views {
		v.declined(name)
		v.signal()
	}
}

// settle ends the wait for a name, and reports whether there was one.
func (s *Store) settle(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.awaited[name]
	delete(s.awaited, name)
	return ok
}

// awaits reports whether the answer for an asked name has to wait.
func (s *Store) awaits(n model.ResourceName) bool {
	if len(s.awaited) == 0 || !onDemand(n) {
		return false
	}
	_, ok := s.awaited[strings.ToLower(n.Name)]
	return ok
}

// declined notes that a name that waited has no secret.
func (v *view) declined(name string) {
	if _, ok := v.asked.origins[name]; ok {
		v.asked.declined = append(v.asked.declined, name)
	}
	for variant := range v.asked.variants[name] {
		v.asked.declined = append(v.asked.declined, variant)
	}
}

// takeDeclined returns the asked names that wait for nothing.
func (v *view) takeDeclined() []string {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	out := v.asked.declined
	v.asked.declined = nil
	return out
}

// decline tells the proxy which of the names that it asks for have no secret.
func (s *stream) decline() {
	if names := s.view.takeDeclined(); len(names) > 0 {
		b := s.reply(s.subs[model.TypeSecret], names, nil)
		b.resources, b.free = nil, true // what there is meanwhile comes by itself
		s.send(b)
	}
}

// under returns r as it is served to who asks for name. The bytes stay those of
// r, see wire; what it needs is what it stands for, see published.
func under(r *model.Resource, name string) *model.Resource {
	if r == nil || r.Name == name {
		return r
	}
	return &model.Resource{
		ResourceName: model.ResourceName{Type: r.Type, Name: name},
		Bytes:        r.Bytes, Hash: r.Hash, Owners: r.Owners,
		Needs: []model.ResourceName{r.ResourceName},
	}
}

// alias reports whether r came from under with a name that is not its own.
func alias(r *model.Resource) bool { return onDemand(r.ResourceName) && len(r.Needs) > 0 }

// published returns what r was published as.
func published(r *model.Resource) *model.Resource {
	if !alias(r) {
		return r
	}
	return &model.Resource{ResourceName: r.Needs[0], Bytes: r.Bytes, Hash: r.Hash, Owners: r.Owners}
}

// wire returns the bytes of r as they are sent. A Secret carries its name, which
// has to be the asked one: of a field that comes twice the last value counts.
//
// Source: Secret.name is field 1 of extensions.transport_sockets.tls.v3; the
// encoding of protocol buffers, "Last One Wins".
func wire(r *model.Resource) []byte {
	if !alias(r) {
		return r.Bytes
	}
	const nameField = 1
	b := protowire.AppendTag(slices.Clip(r.Bytes), nameField, protowire.BytesType)
	return protowire.AppendString(b, r.Name)
}

// asked is what one stream asks for by server name.
type asked struct {
	// origins has for every asked name the published one that answers, "" if
	// none does. byOrigin is the other way round, without names that answer for
	// themselves.
	origins  map[string]string
	byOrigin map[string]map[string]struct{}
	// variants has the asked names with capital letters, by their lower case.
	variants map[string]map[string]struct{}
	// touched are the published names that changed since follow; the value says
	// whether one was not there before.
	touched map[string]bool
	// declined are asked names for which nothing is made.
	declined []string
}

// ask notes that the stream asks for name.
func (v *view) ask(name string) {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	a := &v.asked
	if a.origins == nil {
		a.origins = make(map[string]string)
		a.byOrigin = make(map[string]map[string]struct{})
		a.variants = make(map[string]map[string]struct{})
		a.touched = make(map[string]bool)
	}
	a.drop(name)
	a.put(name, v.store.origin(name))
	if lower := strings.ToLower(name); lower != name {
		add(a.variants, lower, name)
	}
}

// drop notes that the stream no longer asks for name.
func (v *view) drop(name string) {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	v.asked.drop(name)
}

func (a *asked) drop(name string) {
	origin, ok := a.origins[name]
	if !ok {
		return
	}
	delete(a.origins, name)
	remove(a.byOrigin, origin, name)
	remove(a.variants, strings.ToLower(name), name)
}

func (a *asked) put(name, origin string) {
	a.origins[name] = origin
	if origin != name {
		add(a.byOrigin, origin, name)
	}
}

// touch notes that the secret of a published name changed, or appeared.
func (a *asked) touch(name string, appeared bool) {
	if len(a.origins) > 0 {
		a.touched[name] = a.touched[name] || appeared
	}
}

// follow notes as changed what is asked for and answered by what changed. It
// looks only at names for which one that changed answers, did, or is now the
// next after: a wildcard that appears takes from the one above it.
func (v *view) follow() {
	a := &v.asked
	if len(a.touched) == 0 {
		return
	}
	concerned, origins := make(map[string]struct{}), make(map[string]struct{})
	for name, appeared := range a.touched {
		if _, ok := a.origins[name]; ok {
			concerned[name] = struct{}{}
		}
		maps.Copy(concerned, a.variants[name])
		origins[name] = struct{}{}
		if appeared && strings.HasPrefix(name, "*") {
			origins[v.store.above(name)] = struct{}{}
		}
	}
	for origin := range origins {
		maps.Copy(concerned, a.byOrigin[origin])
	}
	for name := range concerned {
		was, now := a.origins[name], v.store.origin(name)
		_, changed := a.touched[now]
		if was == now && !changed {
			continue
		}
		remove(a.byOrigin, was, name)
		a.put(name, now)
		v.dirty(model.ResourceName{Type: model.TypeSecret, Name: name}, nil)
	}
	clear(a.touched)
}

// above returns the published name that would answer without a wildcard, "" if
// none would.
func (s *Store) above(wildcard string) string {
	for name := range covering(wildcard) {
		if name != wildcard && s.entries[model.TypeSecret][name] != nil {
			return name
		}
	}
	return ""
}

func add(sets map[string]map[string]struct{}, key, name string) {
	set := sets[key]
	if set == nil {
		set = make(map[string]struct{})
		sets[key] = set
	}
	set[name] = struct{}{}
}

func remove(sets map[string]map[string]struct{}, key, name string) {
	delete(sets[key], name)
	if len(sets[key]) == 0 {
		delete(sets, key)
	}
}
