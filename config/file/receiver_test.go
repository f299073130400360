package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
)

// deadline is how long a test waits for what must happen.
const deadline = 20 * time.Second

// hold is how long vanished files keep their objects here: long enough that a
// busy machine does not come between two steps of a test.
const hold = time.Second

// receiver runs a source and keeps what its steps add up to.
type receiver struct {
	t        *testing.T
	src      *Source
	stop     func() // ends the source
	steps    chan config.Step
	have     map[string]string // object → its value of "v"
	seen     map[string]uint64 // object → its [model.Meta.Seen]
	problems []model.Problem
	last     config.Step
	// removed and served are everything ever removed, and every value ever
	// served of an object.
	removed []string
	served  map[string][]string
}

// run starts a source on folders, without a rescan unless given, and takes the
// first step.
func run(t *testing.T, rescan time.Duration, dirs ...string) *receiver {
	t.Helper()
	if rescan == 0 {
		rescan = time.Hour
	}
	return receive(t, New(Options{Dirs: dirs, Rescan: rescan, Settle: hold}))
}

// receive runs a source and takes the first step.
func receive(t *testing.T, src *Source) *receiver {
	t.Helper()
	r := &receiver{
		t: t, src: src, steps: make(chan config.Step),
		have: map[string]string{}, seen: map[string]uint64{}, served: map[string][]string{},
	}
	r.src.hold = hold
	if r.src.empty > 0 {
		r.src.empty = removalHold
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.src.Run(ctx, r.steps) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(r.stop)
	r.take()
	return r
}

// take takes the next step.
func (r *receiver) take() {
	r.t.Helper()
	select {
	case st := <-r.steps:
		r.add(st)
	case <-time.After(deadline):
		r.t.Fatalf("no step came; have %v, problems %v", r.have, r.problems)
	}
}

func (r *receiver) add(st config.Step) {
	if !st.Synced || st.At.IsZero() {
		r.t.Errorf("step synced %v at %v", st.Synced, st.At)
	}
	if !slices.IsSortedFunc(st.Upserts, func(a, b config.Object) int { return compareOrder(a.Order, b.Order) }) {
		r.t.Errorf("upserts out of order: %v", st.Upserts)
	}
	for _, o := range st.Upserts {
		_, v, _ := strings.Cut(string(o.JSON), `"v":"`)
		v, _, _ = strings.Cut(v, `"`)
		r.have[o.Ref.Name] = v
		r.seen[o.Ref.Name] = o.Seen
		r.served[o.Ref.Name] = append(r.served[o.Ref.Name], v)
	}
	for _, ref := range st.Removals {
		if _, ok := r.have[ref.Name]; !ok {
			r.t.Errorf("%s removed that was never there", ref)
		}
		delete(r.have, ref.Name)
		r.removed = append(r.removed, ref.Name)
	}
	r.problems, r.last = st.Problems, st
}

// until takes steps until the objects are as wanted ("a=1 b=2") and the
// problems, too ("file:line Reason").
func (r *receiver) until(objects string, problems ...string) {
	r.t.Helper()
	timeout := time.After(deadline)
	for r.objects() != objects || !slices.Equal(r.faults(), problems) {
		select {
		case st := <-r.steps:
			r.add(st)
		case <-timeout:
			r.t.Fatalf("want %q %v\nhave %q %v", objects, problems, r.objects(), r.problems)
		}
	}
}

// settled returns once no version of a file is too young to be good.
func (r *receiver) settled() {
	r.t.Helper()
	young := func() int {
		r.src.mu.Lock()
		defer r.src.mu.Unlock()
		return len(r.src.ledger.unsettled)
	}
	timeout := time.After(deadline)
	for young() > 0 {
		select {
		case st := <-r.steps:
			r.add(st)
		case <-time.After(time.Millisecond):
		case <-timeout:
			r.t.Fatalf("%d files are not settled", young())
		}
	}
}

// kept fails when anything was ever removed.
func (r *receiver) kept() {
	r.t.Helper()
	if len(r.removed) > 0 {
		r.t.Errorf("removed on the way: %v", r.removed)
	}
}

func (r *receiver) objects() string {
	var out []string
	for name, v := range r.have {
		out = append(out, name+"="+v)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (r *receiver) faults() []string {
	var out []string
	for _, p := range r.problems {
		out = append(out, fmt.Sprintf("%s:%d %s", filepath.Base(p.Place.File), p.Place.Line, p.Reason))
	}
	return out
}

// object is a document that says v of a name.
func object(name, v string) string {
	return "apiVersion: v1\nkind: Thing\nmetadata:\n  name: " + name + "\nv: \"" + v + "\"\n"
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o644))
}

// replace writes a file as careful programs do.
func replace(t *testing.T, path, content string) {
	t.Helper()
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	write(t, tmp, content)
	must(t, os.Rename(tmp, path))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, parts ...string) string {
	t.Helper()
	dir := filepath.Join(parts...)
	must(t, os.MkdirAll(dir, 0o755))
	return dir
}
