package xds

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluicegw/sluice/model"
)

func TestWildcardSubscriptions(t *testing.T) {
	for _, typ := range []model.ResourceType{model.TypeCluster, model.TypeListener, model.TypeScope} {
		for name, names := range map[string][]string{"legacy": nil, "star": {"*"}, "star and name": {"*", "a"}} {
			t.Run(typ.Short()+" "+name, func(t *testing.T) {
				r := newRig(t, Options{})
				r.publish(resource(typ, "b", "1"), resource(typ, "a", "1"))
				c := r.connect("n1")
				c.subscribe(typ, names...)
				c.take(typ.Short() + " +a=1 +b=1")
				r.publish(resource(typ, "c", "1"), resource(typ, "b", "2"), named(typ, "a"))
				if typ == model.TypeScope { // what is new comes first
					c.take("scope +c=1")
					c.take("scope +b=2")
				} else {
					c.take(typ.Short() + " +b=2 +c=1")
				}
				c.take(typ.Short() + " -a")
				c.quiet()
				c.subscribe(typ, "*")
				c.take(typ.Short() + " +b=2 +c=1")
			})
		}
	}
}

func TestEmptyWildcardIsAnsweredAtOnce(t *testing.T) {
	r := newRig(t, Options{})
	g := r.publish()
	c := r.connect("n1")
	c.subscribe(model.TypeCluster)
	c.take("cluster")
	if a := r.acked(); a != 0 {
		t.Errorf("generation %d is acknowledged before listeners were asked for", a)
	}
	c.subscribe(model.TypeListener)
	c.take("listener")
	r.untilAcked(g)
}

func TestTypesWithoutWildcardDoNotHandOutEverything(t *testing.T) {
	r := newRig(t, Options{})
	r.publish(resource(model.TypeSecret, "s", "1"), resource("unknown", "u", "1"))
	c := r.connect("n1")
	c.subscribe(model.TypeSecret)
	c.take("secret")
	c.subscribe(model.TypeSecret, "*")
	c.take("secret -*")
	c.subscribe("never heard of")
	c.take("never heard of")
	c.subscribe("never heard of", "x")
	c.take("never heard of -x")
	c.quiet()
}

func TestExplicitSubscriptions(t *testing.T) {
	r, c := start(t, Options{})
	c.subscribe(model.TypeRoute, "absent", "r")
	c.take("route +r=1 -absent") // r is sent again, as it is asked for again
	r.publish(route("absent", "1"))
	c.take("route +absent=1")
	c.unsubscribe(model.TypeRoute, "absent")
	c.quiet()
	r.publish(route("absent", "2"))
	c.quiet()
	c.subscribe(model.TypeRoute, "absent")
	c.take("route +absent=2")
	r.publish(named(model.TypeRoute, "absent"))
	c.take("route -absent")
	c.quiet()
}

func TestUnsubscribeFromWhatAWildcardCovers(t *testing.T) {
	r := newRig(t, Options{})
	r.publish(cluster("a", "1"), cluster("b", "1"))
	c := r.connect("n1")
	c.subscribe(model.TypeCluster, "*", "a")
	c.take("cluster +a=1 +b=1")
	c.unsubscribe(model.TypeCluster, "a")
	c.take("cluster +a=1")
	c.subscribe(model.TypeCluster, "b")
	c.take("cluster +b=1")
	c.unsubscribe(model.TypeCluster, "*")
	c.quiet()
	r.publish(cluster("a", "2"), cluster("b", "2"))
	c.take("cluster +b=2")
	c.quiet()
}

func TestReconnectGetsOnlyDifferences(t *testing.T) {
	r := newRig(t, Options{})
	g := r.publish(cluster("same", "1"), cluster("changed", "2"), cluster("new", "1"), endpoint("same", "1"),
		endpoint("changed", "1"), listener("l", "1", "r"), route("r", "1"))
	c := r.connect("n1")
	c.openWith(model.TypeCluster, cluster("same", "1"), cluster("changed", "1"), cluster("gone", "1"))
	c.take("cluster +changed=2 +new=1")
	c.openWith(model.TypeEndpoint, endpoint("same", "1"), endpoint("changed", "1"), endpoint("gone", "1"))
	c.take("endpoint +changed=1") // unchanged, but its cluster is not
	c.openWith(model.TypeListener, listener("l", "1"))
	c.quiet()
	if a := r.acked(); a != 0 {
		t.Errorf("generation %d is acknowledged before routes were asked for", a)
	}
	c.openWith(model.TypeRoute, route("r", "1"))
	c.take("cluster -gone") // now that it has the rest
	c.take("endpoint -gone")
	r.untilAcked(g)
	c.quiet()
	g = r.publish(named(model.TypeCluster, "same"), listener("l", "2", "r"))
	c.take("listener +l=2")
	c.take("cluster -same")
	r.untilAcked(g)
}

// A table changed its layout while its proxy was away: what the proxy brings along
// stays until it has what takes its place, in whatever order it asks.
func TestReconnectChangesInOrder(t *testing.T) {
	for _, extensionsFirst := range []bool{true, false} {
		t.Run(fmt.Sprint("extensions first ", extensionsFirst), func(t *testing.T) {
			r := newRig(t, Options{})
			g := r.publish(cluster("a", "1"), listener("l", "1"), resource(model.TypeExtension, "x", "2"), route("r", "2"),
				scope("t/a", "1", "t/a"), route("t/a", "1"), scope("s", "1", "r"))
			c := r.connect("n1")
			extensions := func() {
				c.openWith(model.TypeExtension, resource(model.TypeExtension, "x", "1"))
				c.quiet()
			}
			c.openWith(model.TypeCluster, cluster("a", "1"))
			c.openWith(model.TypeListener, listener("l", "1"))
			if extensionsFirst {
				extensions()
			}
			c.openWith(model.TypeRoute, route("t", "1"), route("r", "1"))
			c.openWith(model.TypeScope, scope("t/@", "1", "t"), scope("s", "1", "r"))
			c.take("scope +t/a=1")
			if !extensionsFirst {
				extensions()
			}
			c.subscribe(model.TypeRoute, "t/a")
			c.take("route +t/a=1")
			c.take("extension +x=2")
			c.take("route +r=2")
			c.take("scope -t/@")
			if r.acked() >= g {
				t.Error("acknowledged before the last step was")
			}
			c.take("route -t")
			r.untilAcked(g)
			c.quiet()
		})
	}
}

// What a proxy brought, and what left and came back before it was told to let go,
// stays.
func TestReconnectKeepsWhatComesBack(t *testing.T) {
	r := newRig(t, Options{})
	r.publish(listener("l", "1", "r"), route("r", "1"))
	c := r.connect("n1")
	c.openWith(model.TypeCluster, cluster("gone", "1"), cluster("back", "1"))
	c.openWith(model.TypeListener, listener("l", "1", "r"))
	c.quiet() // until the routes are asked for
	g := r.publish(cluster("back", "2"))
	c.take("cluster +back=2")
	c.openWith(model.TypeRoute, route("r", "1"))
	c.take("cluster -gone")
	r.untilAcked(g)
	c.quiet()
}

func TestNothingIsAnsweredBeforeTheFirstPublish(t *testing.T) {
	r := newRig(t, Options{})
	c := r.connect("n1")
	c.subscribe(model.TypeCluster)
	p := r.until("n1", "it is connected", func(p Proxy) bool { return p.Connected })
	if p.Acked != 0 || p.Streams != 1 {
		t.Errorf("proxy is %+v", p)
	}
	early := r.connect("n2")
	early.subscribe(model.TypeCluster)
	r.until("n2", "it is connected", func(p Proxy) bool { return p.Connected })
	early.cancel()
	r.until("n2", "it is gone", func(p Proxy) bool { return !p.Connected })
	select {
	case resp := <-c.got:
		t.Fatalf("got %q before anything was published", render(resp))
	default:
	}
	r.publish(cluster("a", "1"))
	c.take("cluster +a=1")
}

func TestLargeAnswersAreSplit(t *testing.T) {
	r := newRig(t, Options{})
	var change model.Change
	for i := range 2500 {
		change.Upserts = append(change.Upserts, cluster(fmt.Sprintf("c%04d", i), "1"))
	}
	for i := range 3 {
		change.Upserts = append(change.Upserts, resource(model.TypeListener, "l"+strconv.Itoa(i), strings.Repeat("x", 3<<20)))
	}
	r.store.Publish(change)
	c := r.connect("n1")
	c.subscribe(model.TypeCluster)
	total := 0
	for _, want := range []int{1000, 1000, 500} {
		resp := c.next()
		if len(resp.Resources) != want {
			t.Errorf("response with %d resources, want %d", len(resp.Resources), want)
		}
		total += len(resp.Resources)
	}
	c.subscribe("fence", "x") // the three came without an answer in between
	c.expect("fence -x")
	if total != 2500 {
		t.Errorf("got %d clusters, want 2500", total)
	}
}

func TestLargeBytesAreSplit(t *testing.T) {
	big := func(n int) *model.Resource { return &model.Resource{Bytes: make([]byte, n)} }
	for name, tc := range map[string]struct {
		sizes []int
		want  int
	}{
		"none":              {nil, 0},
		"fits":              {[]int{1, 2, 3}, 3},
		"second too much":   {[]int{3 << 20, 3 << 20}, 1},
		"one that is large": {[]int{9 << 20, 1}, 1},
		"exactly":           {[]int{2 << 20, 2 << 20, 1}, 2},
	} {
		var rs []*model.Resource
		for _, n := range tc.sizes {
			rs = append(rs, big(n))
		}
		if got := cut(rs, false); got != tc.want {
			t.Errorf("%s: %d in the first response, want %d", name, got, tc.want)
		}
	}
}

func TestManyRemovalsAreSplit(t *testing.T) {
	r := newRig(t, Options{})
	var add, remove model.Change
	for i := range 1500 {
		res := cluster(fmt.Sprintf("c%04d", i), "1")
		add.Upserts = append(add.Upserts, res)
		remove.Removals = append(remove.Removals, res.ResourceName)
	}
	r.store.Publish(add)
	c := r.connect("n1")
	c.subscribe(model.TypeCluster)
	c.ack(c.next())
	c.ack(c.next())
	r.store.Publish(remove)
	for _, want := range []int{1000, 500} {
		resp := c.next()
		if len(resp.RemovedResources) != want {
			t.Errorf("response with %d removals, want %d", len(resp.RemovedResources), want)
		}
		c.ack(resp)
	}
}

func TestRequestsThatEndTheStream(t *testing.T) {
	for name, tc := range map[string]struct {
		req  *discovery.DeltaDiscoveryRequest
		want codes.Code
	}{
		"no node":     {&discovery.DeltaDiscoveryRequest{TypeUrl: string(model.TypeCluster)}, codes.InvalidArgument},
		"no node id":  {&discovery.DeltaDiscoveryRequest{TypeUrl: string(model.TypeCluster), Node: &core.Node{}}, codes.InvalidArgument},
		"no type URL": {&discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: "n1"}}, codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			r.publish()
			c := r.connect("n1")
			if err := c.rpc.Send(tc.req); err != nil {
				t.Fatal(err)
			}
			if err := <-c.ended; status.Code(err) != tc.want {
				t.Errorf("stream ended with %v, want %v", err, tc.want)
			}
		})
	}
}

func TestStateOfTheWorldIsUnimplemented(t *testing.T) {
	r := newRig(t, Options{})
	rpc, err := discovery.NewAggregatedDiscoveryServiceClient(r.dial()).StreamAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rpc.Recv(); status.Code(err) != codes.Unimplemented {
		t.Errorf("stream ended with %v, want Unimplemented", err)
	}
}

func TestAnswersToNothingAreIgnored(t *testing.T) {
	r, c := start(t, Options{})
	c.request(&discovery.DeltaDiscoveryRequest{TypeUrl: string(model.TypeCluster), ResponseNonce: "no number"})
	c.request(&discovery.DeltaDiscoveryRequest{TypeUrl: string(model.TypeCluster), ResponseNonce: "999"})
	g := r.publish(route("r", "2"))
	resp := c.expect("route +r=2")
	c.request(&discovery.DeltaDiscoveryRequest{TypeUrl: string(model.TypeCluster), ResponseNonce: resp.Nonce})
	c.quiet()
	if r.acked() == g {
		t.Error("acknowledged by an answer of another type")
	}
	c.ack(resp)
	r.untilAcked(g)
}
