package compile

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sluicegw/sluice/model"
)

// The oracle: whatever the edits, the incremental result equals the result from
// scratch, byte for byte, and the changes that were announced add up to it.

// play applies edits to a fresh compiler and checks it every few of them.
func play(t *testing.T, p pki, seed uint64, edits int) {
	t.Helper()
	const every = 1
	w := world{rand.New(rand.NewPCG(seed, 1)), p}
	c := New(Options{ScopedAbove: []int{0, 3, 256}[seed%3], Fleet: acmeFleet()})
	announced := map[model.ResourceName]*model.Resource{}
	for i := range edits {
		res := w.edit(c)
		for _, r := range res.Change.Upserts {
			announced[r.ResourceName] = r
		}
		for _, n := range res.Change.Removals {
			if announced[n] == nil {
				t.Fatalf("seed %d, edit %d: removal of %v, which was never announced", seed, i, n)
			}
			delete(announced, n)
		}
		if i%every != 0 && i != edits-1 {
			continue
		}
		if err := c.Verify(); err != nil {
			t.Fatalf("seed %d, edit %d: %v", seed, i, err)
		}
		if err := complete(c); err != "" {
			t.Fatalf("seed %d, edit %d: %s", seed, i, err)
		}
	}
}

// complete checks that every need is met: nothing that Envoy would ask for is
// missing.
func complete(c *Compiler) string {
	for _, r := range c.resources {
		for _, n := range r.Needs {
			if c.resources[n] == nil {
				return r.Name + " needs " + n.Name + ", which is not there"
			}
		}
	}
	return ""
}

func TestIncrementalEqualsFromScratch(t *testing.T) {
	const worlds, edits = 40, 300 // 12,000 edits
	p := newPKI(t)
	for seed := range uint64(worlds) {
		play(t, p, seed, edits)
	}
}

func FuzzIncrementalEqualsFromScratch(f *testing.F) {
	for seed := range uint64(3) {
		f.Add(seed, uint8(40))
	}
	p := newPKI(f)
	f.Fuzz(func(t *testing.T, seed uint64, edits uint8) {
		play(t, p, seed, int(edits)+1)
	})
}

func TestRemovingEverythingLeavesNothing(t *testing.T) {
	w := world{rand.New(rand.NewPCG(7, 7)), newPKI(t)}
	c := New(Options{ScopedAbove: 3, Fleet: acmeFleet()})
	for range 200 {
		w.edit(c)
	}
	var all []model.Ref
	for ref := range c.rules.objects.All() {
		all = append(all, ref)
	}
	for _, ref := range all {
		c.rules.set(ref, nil)
	}
	c.settle(all)
	if len(c.resources) != 0 || len(c.reports) != 0 {
		t.Errorf("%d resources and %d reports outlive their objects", len(c.resources), len(c.reports))
	}
	if n := c.rules.host.Len() + c.rules.cluster.Len() + c.rules.attach.Len() + c.rules.target.Len(); n != 0 {
		t.Errorf("%d results outlive their objects", n)
	}
}

func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	w := world{rand.New(rand.NewPCG(11, 3)), newPKI(t)}
	c := New(Options{ScopedAbove: 256, Fleet: acmeFleet()})
	for range 150 {
		w.edit(c)
	}
	var refs []model.Ref
	for ref := range c.rules.objects.All() {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, model.Ref.Compare)
	other := New(Options{ScopedAbove: 256, Fleet: acmeFleet()})
	other.rules.copyFacts(c.rules)
	other.rules.copyKept(c.rules)
	for i := len(refs) - 1; i >= 0; i-- { // one by one, backwards
		other.rules.set(refs[i], c.rules.objects.Get(refs[i]))
		other.settle(nil)
	}
	if err := c.compare(other); err != nil {
		t.Error(err)
	}
}
