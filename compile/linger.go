package compile

import (
	"bytes"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/upstream"
)

// This file lets endpoints leave in two steps: what goes is first announced as
// draining, so that no new request is sent there, and taken away a little
// later. The rules know nothing of it: it changes only what is announced.

// lingering is one set of endpoints that holds some which have left.
type lingering struct {
	announced *model.Resource
	batch     uint64
}

// linger replaces endpoint sets that lost endpoints by sets in which those are
// draining, and notes them for [Compiler.Release].
func (c *Compiler) linger(change *model.Change) {
	c.batch++
	for i, r := range change.Upserts {
		if r.Type != model.TypeEndpoint {
			continue
		}
		before := c.resources[r.ResourceName]
		if l, ok := c.lingering[r.ResourceName]; ok {
			before = l.announced
		}
		delete(c.lingering, r.ResourceName)
		if before == nil || bytes.Equal(before.Bytes, r.Bytes) {
			continue
		}
		if merged := draining(before, r); merged != nil {
			change.Upserts[i] = merged
			c.lingering[r.ResourceName] = lingering{announced: merged, batch: c.batch}
		}
	}
	for _, n := range change.Removals {
		delete(c.lingering, n)
	}
}

// draining returns after with the endpoints that only before has, as draining;
// nil if there are none.
func draining(before, after *model.Resource) *model.Resource {
	var b, a endpointv3.ClusterLoadAssignment
	if proto.Unmarshal(before.Bytes, &b) != nil || proto.Unmarshal(after.Bytes, &a) != nil {
		return nil
	}
	merged, left := upstream.Lingering(&b, &a)
	if !left {
		return nil
	}
	encoded, err := encode(merged)
	if err != nil {
		return nil
	}
	return newResource(part{name: after.ResourceName, needs: after.Needs, owners: after.Owners}, encoded)
}

// Lingers returns a mark for what lingers now, and whether anything does.
func (c *Compiler) Lingers() (mark uint64, any bool) { return c.batch, len(c.lingering) > 0 }

// Release takes away the endpoints that have lingered since mark or longer.
func (c *Compiler) Release(mark uint64) (change model.Change) {
	for n, l := range c.lingering {
		if l.batch <= mark {
			delete(c.lingering, n)
			change.Upserts = append(change.Upserts, c.resources[n])
		}
	}
	sortResources(change.Upserts)
	return change
}
