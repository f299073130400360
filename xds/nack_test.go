package xds

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegw/sluice/model"
)

// rejections returns what node n1 rejected, without the time.
func (r *rig) rejections() []Rejection {
	out := slices.Clone(r.store.Proxies()[0].Rejections)
	for i := range out {
		out[i].At = time.Time{}
	}
	return out
}

func rejected(res *model.Resource, detail string, serving *model.Resource) Rejection {
	j := Rejection{Resource: res.ResourceName, Hash: res.Hash, Owners: res.Owners, Detail: detail}
	if serving != nil {
		j.Serving = serving.Hash
	}
	return j
}

// three subscribes a new client of the rig to a, b and c of a type, content 1.
func three(t *testing.T, r *rig, typ model.ResourceType) *client {
	t.Helper()
	r.publish(resource(typ, "a", "1"), resource(typ, "b", "1"), resource(typ, "c", "1"))
	c := r.connect("n1")
	for _, open := range []model.ResourceType{model.TypeCluster, model.TypeListener} {
		if open != typ {
			c.subscribe(open)
			c.take(open.Short())
		}
	}
	names := []string{"a", "b", "c"}
	if wildcard(typ) {
		names = nil
	}
	c.subscribe(typ, names...)
	c.take(typ.Short() + " +a=1 +b=1 +c=1")
	return c
}

func TestNACKIsNarrowedToTheResource(t *testing.T) {
	const other = "bare words"
	for _, tc := range []struct {
		typ    model.ResourceType
		detail string
		alone  []string // what is sent again; b is at fault
	}{
		{model.TypeCluster, "Error adding/updating cluster(s) b: no", []string{"b"}},
		{model.TypeListener, "Error adding/updating listener(s) b: no\n", []string{"b"}},
		{model.TypeCluster, other, []string{"a", "b", "c"}},
		{model.TypeListener, other, []string{"a", "b", "c"}},
		{model.TypeRoute, other, []string{"a", "b", "c"}},
		{model.TypeScope, other, []string{"a", "b", "c"}},
		{model.TypeEndpoint, other, []string{"a", "b", "c"}},
		{model.TypeSecret, other, []string{"a", "b", "c"}},
		{model.TypeExtension, other, []string{"a", "b", "c"}},
	} {
		t.Run(tc.typ.Short()+" "+tc.detail[:4], func(t *testing.T) {
			r := newRig(t, Options{})
			c := three(t, r, tc.typ)
			r.untilAcked(1)
			bad := resource(tc.typ, "b", "2")
			g := r.publish(resource(tc.typ, "a", "2"), bad, resource(tc.typ, "c", "2"))
			word := tc.typ.Short()
			c.nack(c.expect(word+" +a=2 +b=2 +c=2"), tc.detail)
			for _, name := range tc.alone {
				resp := c.expect(word + " +" + name + "=2")
				if name == "b" {
					c.nack(resp, "bad b")
				} else {
					c.ack(resp)
				}
			}
			r.untilAcked(g)
			c.quiet()
			good := resource(tc.typ, "b", "1")
			want := []Rejection{rejected(bad, "bad b", good)}
			if diff := cmp.Diff(want, r.rejections()); diff != "" {
				t.Errorf("rejections (-want +got):\n%s", diff)
			}
			if got := r.store.Get(bad.ResourceName); got == nil || got.Hash != good.Hash {
				t.Errorf("the store serves %v, want the last good version", got)
			}

			g = r.publish(resource(tc.typ, "b", "3"))
			c.take(word + " +b=3")
			r.untilAcked(g)
			if left := r.rejections(); len(left) != 0 {
				t.Errorf("rejections after a good version: %v", left)
			}
			if n := r.server.Counts().NACKs[tc.typ]; n != 2 {
				t.Errorf("counted %d NACKs, want 2", n)
			}
		})
	}
}

func TestQuarantineServesTheLastGoodVersionToAll(t *testing.T) {
	r := newRig(t, Options{})
	c := three(t, r, model.TypeListener)
	r.untilAcked(1)
	bad, fresh := listener("b", "2"), listener("d", "2")
	g := r.publish(bad, fresh)
	c.nack(c.expect("listener +b=2 +d=2"), "Error adding/updating listener(s) b: no\nd: no\n")
	c.nack(c.expect("listener +b=2"), "no")
	c.nack(c.expect("listener +d=2"), "no")
	r.untilAcked(g)
	want := []Rejection{rejected(bad, "no", listener("b", "1")), rejected(fresh, "no", nil)}
	if diff := cmp.Diff(want, r.rejections()); diff != "" {
		t.Errorf("rejections (-want +got):\n%s", diff)
	}
	if got := r.store.Resources(model.TypeListener); len(got) != 3 {
		t.Errorf("the store serves %d listeners, want 3 without the withheld one", len(got))
	}

	again := r.connect("n1")
	again.subscribe(model.TypeListener)
	again.take("listener +a=1 +b=1 +c=1")
	again.subscribe(model.TypeListener, "d")
	again.take("listener -d")
	r.publish(bad, fresh) // the same versions once more
	again.quiet()
	r.publish(listener("d", "3"))
	again.take("listener +d=3")
	c.take("listener +d=3")
	r.publish(named(model.TypeListener, "b"))
	again.take("listener -b")
	if left := r.rejections(); len(left) != 0 {
		t.Errorf("rejections after the resource is gone: %v", left)
	}
}

func TestAProxyThatNeverHadTheGoodVersionGetsIt(t *testing.T) {
	r := newRig(t, Options{})
	three(t, r, model.TypeCluster)
	r.untilAcked(1)
	r.publish(cluster("b", "2"))
	late := r.connect("n2")
	late.subscribe(model.TypeCluster)
	late.nack(late.expect("cluster +a=1 +b=2 +c=1"), "Error adding/updating cluster(s) b: no")
	late.nack(late.expect("cluster +b=2"), "no")
	late.take("cluster +b=1")
	late.quiet()
}

func TestAWithheldVersionIsNotTakenFromWhoHasAnOlderOne(t *testing.T) {
	r := newRig(t, Options{})
	r.publish(cluster("a", "2"))
	c := r.connect("n1")
	c.openWith(model.TypeCluster, cluster("a", "1"))
	c.nack(c.expect("cluster +a=2"), "no")
	c.quiet()
	c.cancel()
	<-c.ended
	c = r.connect("n1")
	c.openWith(model.TypeCluster, cluster("a", "1"))
	c.quiet()
	r.publish(named(model.TypeCluster, "a"))
	c.take("cluster -a")
}

func TestAVersionThatAnotherProxyTakesIsServed(t *testing.T) {
	for _, first := range []string{"refuses", "takes"} {
		t.Run(first, func(t *testing.T) {
			r := newRig(t, Options{})
			no := three(t, r, model.TypeCluster)
			yes := r.connect("n2")
			yes.subscribe(model.TypeCluster)
			yes.take("cluster +a=1 +b=1 +c=1")
			g := r.publish(cluster("b", "2"))
			n, y := no.expect("cluster +b=2"), yes.expect("cluster +b=2")
			if first == "refuses" {
				no.nack(n, "no")
				r.untilAcked(g)
				yes.ack(y)
				no.nack(no.expect("cluster +b=2"), "no")
			} else {
				yes.ack(y)
				yes.quiet()
				no.nack(n, "no")
				r.untilAcked(g)
			}
			no.quiet()
			yes.quiet()
			if got := r.store.Get(named(model.TypeCluster, "b")); got.Hash != cluster("b", "2").Hash {
				t.Errorf("the store serves %s", got.Bytes)
			}
			if got := r.rejections(); len(got) != 1 {
				t.Errorf("rejections are %v, want one", got)
			}
		})
	}
}

func TestRevertToTheGoodVersionSendsNothing(t *testing.T) {
	r := newRig(t, Options{})
	c := three(t, r, model.TypeCluster)
	r.publish(cluster("b", "2"))
	c.nack(c.expect("cluster +b=2"), "no")
	c.quiet()
	g := r.publish(resource(model.TypeCluster, "b", "1"))
	r.untilAcked(g)
	c.quiet()
	if left := r.rejections(); len(left) != 0 {
		t.Errorf("rejections are %v, want none", left)
	}
}

func TestAVersionTakenLateIsStillTheGoodOne(t *testing.T) {
	r := newRig(t, Options{})
	r.publish(cluster("a", "1"))
	c := r.connect("n1")
	c.subscribe(model.TypeCluster)
	first := c.expect("cluster +a=1")
	r.publish(cluster("a", "2"))
	second := c.expect("cluster +a=2")
	c.ack(first)
	c.nack(second, "no")
	c.quiet()
	if got := r.store.Get(named(model.TypeCluster, "a")); got == nil || got.Hash != cluster("a", "1").Hash {
		t.Errorf("the store serves %v, want the first version", got)
	}
}

func TestANACKDoesNotStopTheRound(t *testing.T) {
	r, c := start(t, Options{})
	g := r.publish(cluster("b", "1"), endpoint("b", "1"), route("r", "2"), named(model.TypeCluster, "a"))
	c.nack(c.expect("cluster +b=1"), "Error adding/updating cluster(s) b: no")
	c.nack(c.expect("route +r=2"), "no")
	c.take("cluster -a")
	r.untilAcked(g)
}

func TestInitialAnswerCountsOnlyWhenNarrowedDown(t *testing.T) {
	r := newRig(t, Options{})
	g := r.publish(cluster("a", "1"), cluster("b", "1"))
	c := r.connect("n1")
	c.subscribe(model.TypeListener)
	c.take("listener")
	c.subscribe(model.TypeCluster)
	c.nack(c.expect("cluster +a=1 +b=1"), "bare")
	first, second := c.expect("cluster +a=1"), c.expect("cluster +b=1")
	c.ack(first)
	c.quiet()
	if a := r.acked(); a != 0 {
		t.Errorf("generation %d is acknowledged before b is", a)
	}
	c.ack(second)
	r.untilAcked(g)
}

func TestListenersWithoutAnAddressAreRetried(t *testing.T) {
	for _, why := range []string{
		"cannot bind '0.0.0.0:80': Address already in use", "cannot bind '0.0.0.0:80': Permission denied",
	} {
		t.Run(why, func(t *testing.T) {
			r, c := start(t, Options{RetryBind: Backoff{First: time.Millisecond, Max: 3 * time.Millisecond}})
			detail := "Error adding/updating listener(s) p: " + why
			g := r.publish(listener("p", "1"), listener("q", "1"))
			c.nack(c.expect("listener +p=1 +q=1"), detail)
			c.nack(c.expect("listener +p=1"), detail)
			r.untilAcked(g)
			for range 5 {
				c.nack(c.expect("listener +p=1"), detail)
			}
			resp := c.expect("listener +p=1")
			want := rejected(listener("p", "1"), detail, nil)
			want.Bind = true
			if diff := cmp.Diff([]Rejection{want}, r.rejections()); diff != "" {
				t.Errorf("rejections (-want +got):\n%s", diff)
			}
			if r.store.Get(named(model.TypeListener, "p")) == nil {
				t.Error("the listener is withheld")
			}
			c.ack(resp)
			r.until("n1", "the rejection is taken back", func(p Proxy) bool { return len(p.Rejections) == 0 })
			c.quiet()
		})
	}
}

func TestRetryEndsWithTheVersion(t *testing.T) {
	r, c := start(t, Options{RetryBind: Backoff{First: time.Hour, Max: time.Hour}})
	r.publish(listener("p", "1"))
	c.nack(c.expect("listener +p=1"), "cannot bind")
	g := r.publish(listener("p", "2"))
	c.take("listener +p=2")
	r.untilAcked(g)
	if left := r.rejections(); len(left) != 0 {
		t.Errorf("rejections are %v, want none", left)
	}
	g = r.publish(listener("q", "1"))
	c.nack(c.expect("listener +q=1"), "cannot bind")
	r.untilAcked(g)
	g = r.publish(named(model.TypeListener, "q"))
	c.take("listener -q")
	r.untilAcked(g)
	c.quiet()
}

func TestMentions(t *testing.T) {
	for _, tc := range []struct {
		detail, name string
		want         bool
	}{
		{"Error adding/updating cluster(s) a: x, b: y", "a", true},
		{"Error adding/updating cluster(s) a: x, b: y", "b", true},
		{"Error adding/updating cluster(s) aa: x, bb: y", "a", false},
		{"Error adding/updating listener(s) 0.0.0.0_80: x\n0.0.0.0_8080: y\n", "0.0.0.0_8080", true},
		{"Error adding/updating listener(s) 0.0.0.0_8080: y\n", "0.0.0.0_80", false},
		{"a: x", "a", true},
		{"outbound|80||a.b: x", "b", false},
		{"", "a", false},
	} {
		if got := mentions(tc.detail, tc.name); got != tc.want {
			t.Errorf("mentions(%q, %q) = %v", tc.detail, tc.name, got)
		}
	}
}

func TestNarrowingOfMany(t *testing.T) {
	r := newRig(t, Options{})
	var change model.Change
	var names []string
	for i := range 300 {
		names = append(names, fmt.Sprintf("r%03d", i))
		change.Upserts = append(change.Upserts, route(names[i], "1"))
	}
	r.store.Publish(change)
	c := r.connect("n1")
	c.subscribe(model.TypeRoute, names...)
	c.nack(c.next(), "bare")
	for _, name := range names {
		resp := c.expect("route +" + name + "=1")
		if name == "r123" || name == "r200" {
			c.nack(resp, "bad")
		} else {
			c.ack(resp)
		}
	}
	c.quiet()
	if got := r.rejections(); len(got) != 2 {
		t.Errorf("rejections are %v, want two", got)
	}
}

// A listener whose address somebody else holds is not sent, counts as refused for
// it, and is looked at again; one that the proxy has is never asked about.
func TestListenersOfBusyAddressesAreWithheld(t *testing.T) {
	const why = "cannot bind '0.0.0.0:80': Address already in use by nginx (pid 7)"
	var free atomic.Bool
	r, c := start(t, Options{
		RetryBind: Backoff{First: time.Millisecond, Max: 3 * time.Millisecond},
		Busy: func(l *model.Resource) string {
			if l.Name != "p" || free.Load() {
				return ""
			}
			return why
		},
	})
	g := r.publish(listener("p", "1"), listener("q", "1"))
	c.take("listener +q=1")
	r.untilAcked(g)
	want := rejected(listener("p", "1"), why, nil)
	want.Bind = true
	if diff := cmp.Diff([]Rejection{want}, r.rejections()); diff != "" {
		t.Errorf("rejections (-want +got):\n%s", diff)
	}
	free.Store(true)
	c.take("listener +p=1")
	r.until("n1", "the rejection is taken back", func(p Proxy) bool { return len(p.Rejections) == 0 })
	free.Store(false)
	g = r.publish(listener("p", "2"))
	c.take("listener +p=2")
	r.untilAcked(g)
	c.quiet()
}
