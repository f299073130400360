package status

import (
	"slices"
	"strings"

	"github.com/sluicegw/sluice/model"
)

// Obstacle is why something of a generation is not true as declared.
type Obstacle struct {
	// Object is what is not live; zero for what concerns a file or a proxy.
	Object model.Ref
	// Node is the proxy that has not taken the generation, when no object says
	// so: the generation did nothing but remove.
	Node string
	// Live is on how many of the proxies the object is true.
	Live, Of int
	// Problem is the first error said of it; zero without one.
	Problem model.Problem
}

// Behind reports whether proxies are still to take it.
func (o Obstacle) Behind() bool {
	return o.Node != "" || o.Object != (model.Ref{}) && (o.Live < o.Of || o.Of == 0)
}

// Stays reports whether only its author can take it away: every proxy has had
// its say, and what is wrong does not pass with time.
func (o Obstacle) Stays() bool {
	switch o.Problem.Reason {
	case "", model.ReasonBindFailed, model.ReasonCertificatePending, model.ReasonCertificateNotYet:
		return false
	case model.ReasonRejectedByEnvoy:
		return true
	}
	return !o.Behind()
}

// Obstacles returns what keeps the objects of a generation from being live as
// declared, in order; nothing when they are. Only what is within counts: it is
// asked about each object, and about the file of each problem without one. An
// object that has changed since the generation is left out.
func (b *Board) Obstacles(g Generation, within func(model.Ref, model.Place) bool) []Obstacle {
	b.mu.Lock()
	defer b.mu.Unlock()
	errors, refused := b.errors(), b.refused()
	var out []Obstacle
	for ref, o := range b.objects {
		if o.generation > g || !within(ref, model.Place{}) {
			continue
		}
		found := Obstacle{Object: ref, Live: b.liveOn(o, refused[ref]), Of: len(b.proxies), Problem: errors[ref]}
		if found.Behind() || found.Problem.Reason != "" {
			out = append(out, found)
		}
	}
	for ref, p := range errors {
		if b.objects[ref] == nil && p.Place.File != "" && within(model.Ref{}, p.Place) {
			out = append(out, Obstacle{Problem: p})
		}
	}
	if len(out) == 0 {
		for _, p := range b.proxies {
			if !p.has(g) {
				out = append(out, Obstacle{Node: p.Node})
			}
		}
	}
	slices.SortFunc(out, Obstacle.compare)
	return out
}

func (o Obstacle) compare(other Obstacle) int {
	if c := o.Object.Compare(other.Object); c != 0 {
		return c
	}
	if c := strings.Compare(o.Node, other.Node); c != 0 {
		return c
	}
	return o.Problem.Compare(other.Problem)
}

// errors returns the first error that is said of each object, file and proxy.
func (b *Board) errors() map[model.Ref]model.Problem {
	out := map[model.Ref]model.Problem{}
	for _, problems := range b.reports {
		for _, p := range problems {
			if p.Severity != model.SeverityError {
				continue
			}
			if first, any := out[p.Object]; !any || p.Compare(first) < 0 {
				out[p.Object] = p
			}
		}
	}
	return out
}

// Changed returns a channel that is closed when the state changes next.
func (b *Board) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.changed
}

// tell wakes who waits for a change. Call with the lock held.
func (b *Board) tell() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}
