package compile

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/sluicegw/sluice/model"
)

// Verify compiles everything from scratch and compares the result with what
// the steps so far add up to: resources byte for byte, owners, needs and
// problems. It returns the first difference, nil if there is none. It costs as
// much as the first step.
func (c *Compiler) Verify() error {
	o := c.options
	o.Prepare, o.Now = nil, nil
	fresh := New(o)
	for ref, v := range c.rules.objects.All() {
		fresh.rules.set(ref, v)
	}
	for name, r := range c.rules.refused.All() {
		fresh.rules.refused.Set(name, r)
	}
	fresh.rules.copyFacts(c.rules)
	fresh.rules.copyKept(c.rules)
	fresh.settle(nil)
	return c.compare(fresh)
}

func (c *Compiler) compare(fresh *Compiler) error {
	if len(c.resources) != len(fresh.resources) {
		return fmt.Errorf("verify: %d resources, from scratch %d: %s", len(c.resources), len(fresh.resources), firstMissing(c.resources, fresh.resources))
	}
	for name, want := range fresh.resources {
		have := c.resources[name]
		switch {
		case have == nil:
			return fmt.Errorf("verify: %s %s is missing", name.Type.Short(), name.Name)
		case !bytes.Equal(have.Bytes, want.Bytes):
			return fmt.Errorf("verify: %s %s differs from its from-scratch version", name.Type.Short(), name.Name)
		case !equalResource(have, want):
			return fmt.Errorf("verify: %s %s has needs %v and owners %v, from scratch %v and %v", name.Type.Short(), name.Name, have.Needs, have.Owners, want.Needs, want.Owners)
		}
	}
	if !maps.EqualFunc(c.reports, fresh.reports, slices.Equal[[]model.Problem]) {
		return fmt.Errorf("verify: problems %v, from scratch %v", c.reports, fresh.reports)
	}
	return nil
}

func firstMissing(a, b map[model.ResourceName]*model.Resource) string {
	for _, pair := range [][2]map[model.ResourceName]*model.Resource{{a, b}, {b, a}} {
		names := slices.SortedFunc(maps.Keys(pair[0]), model.ResourceName.Compare)
		for _, n := range names {
			if pair[1][n] == nil {
				return n.Type.Short() + " " + n.Name
			}
		}
	}
	return ""
}
