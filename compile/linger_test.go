package compile

import (
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/model"
)

// healths returns the endpoints of a set by address, with their health.
func healths(t *testing.T, r *model.Resource) map[string]string {
	t.Helper()
	var a endpointv3.ClusterLoadAssignment
	if err := proto.Unmarshal(r.Bytes, &a); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, l := range a.GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			out[e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress()] = e.GetHealthStatus().String()
		}
	}
	return out
}

func TestEndpointsThatLeaveDrainFirst(t *testing.T) {
	c := city(3, 3)
	put(c, serviceOf(1, 3))
	res := put(c, serviceOf(1, 1))
	if len(res.Change.Upserts) != 1 {
		t.Fatalf("upserts %v, want one set of endpoints", res.Change.Upserts)
	}
	got := healths(t, res.Change.Upserts[0])
	if len(got) != 3 || got["10.0.1.2"] != "DRAINING" || got["10.0.1.3"] != "DRAINING" || got["10.0.1.1"] == "DRAINING" {
		t.Errorf("announced %v, want the two that left as draining", got)
	}
	mark, any := c.Lingers()
	if !any {
		t.Fatal("nothing lingers")
	}

	res = put(c, serviceOf(1, 2)) // one comes back
	got = healths(t, res.Change.Upserts[0])
	if len(got) != 3 || got["10.0.1.2"] == "DRAINING" || got["10.0.1.3"] != "DRAINING" {
		t.Errorf("announced %v, want only 10.0.1.3 as draining", got)
	}
	if change := c.Release(mark); !change.Empty() {
		t.Errorf("released %v, which drains for a shorter time than asked", change.Upserts)
	}
	mark, _ = c.Lingers()
	change := c.Release(mark)
	if len(change.Upserts) != 1 || len(healths(t, change.Upserts[0])) != 2 {
		t.Fatalf("released %v, want the set of two", change.Upserts)
	}
	if _, any := c.Lingers(); any {
		t.Error("something lingers after all was released")
	}
	if err := c.Verify(); err != nil {
		t.Error(err)
	}
}

func TestRemovedServiceDoesNotLinger(t *testing.T) {
	c := city(3, 3)
	put(c, serviceOf(1, 3))
	put(c, serviceOf(1, 1))
	ref := serviceOf(1, 1).Ref
	c.rules.set(ref, nil)
	c.settle([]model.Ref{ref})
	if mark, any := c.Lingers(); any || !c.Release(mark).Empty() {
		t.Error("endpoints of a removed service linger")
	}
}
