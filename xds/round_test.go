package xds

import (
	"testing"
	"time"

	"github.com/sluicegw/sluice/model"
)

// everything connects a client that has something of each type, and of some a
// thing to lose.
func everything(t *testing.T) (*rig, *client) {
	t.Helper()
	r := newRig(t, Options{})
	r.publish(
		cluster("a", "1"), endpoint("a", "1"), resource(model.TypeSecret, "s", "1"),
		listener("l", "1", "r"), listener("old", "1"), resource(model.TypeExtension, "x", "1"),
		route("r", "1"), route("p", "1"), scope("p", "1", "p"), scope("q", "1", "p"),
	)
	c := r.connect("n1")
	for _, open := range []struct {
		t     model.ResourceType
		names []string
		want  string
	}{
		{model.TypeCluster, nil, "cluster +a=1"},
		{model.TypeEndpoint, []string{"a"}, "endpoint +a=1"},
		{model.TypeSecret, []string{"s"}, "secret +s=1"},
		{model.TypeListener, nil, "listener +l=1 +old=1"},
		{model.TypeExtension, []string{"x"}, "extension +x=1"},
		{model.TypeRoute, []string{"r"}, "route +r=1"},
		{model.TypeScope, []string{"*"}, "scope +p=1 +q=1"},
		{model.TypeRoute, []string{"p"}, "route +p=1"},
	} {
		c.subscribe(open.t, open.names...)
		c.take(open.want)
	}
	r.untilAcked(1)
	return r, c
}

func TestRoundSendsEachStepAfterTheAnswerToTheOneBefore(t *testing.T) {
	r, c := everything(t)
	g := r.publish(
		cluster("b", "1"), endpoint("b", "1"), listener("l", "2", "r"), resource(model.TypeExtension, "x", "2"),
		route("r", "2"), scope("p", "2", "p"), route("n", "1"), scope("n", "1", "n"),
		named(model.TypeCluster, "a"), named(model.TypeEndpoint, "a"),
		named(model.TypeListener, "old"), named(model.TypeScope, "q"),
	)
	step := func(want string, between ...func()) {
		t.Helper()
		resp := c.expect(want)
		c.quiet()
		c.ack(resp)
		for _, f := range between {
			f()
		}
	}
	step("cluster +b=1", func() {
		c.quiet() // b needs its endpoints first
		c.subscribe(model.TypeEndpoint, "b")
		step("endpoint +b=1")
	})
	step("scope +n=1", func() {
		c.quiet() // n needs its routes before anything finds it
		c.subscribe(model.TypeRoute, "n")
		step("route +n=1")
	})
	c.take("extension +x=2") // together with the listeners
	step("listener +l=2")
	step("route +r=2")
	step("scope +p=2")
	step("scope -q")
	step("listener -old")
	step("cluster -a")
	if r.acked() >= g {
		t.Error("acknowledged before the last step was")
	}
	step("endpoint -a")
	r.untilAcked(g)
	c.quiet()
	if n := r.server.Counts().NeedTimeouts; n != 0 {
		t.Errorf("%d need timeouts, want none", n)
	}
}

func TestLoneRouteEditIsOneResponse(t *testing.T) {
	r, c := start(t, Options{})
	before := r.server.Counts()
	g := r.publish(route("r", "2"))
	c.take("route +r=2")
	r.untilAcked(g)
	c.quiet()
	after := r.server.Counts()
	if n := after.Resources[model.TypeRoute] - before.Resources[model.TypeRoute]; n != 1 {
		t.Errorf("pushed %d routes, want 1", n)
	}
	if n := after.Rounds - before.Rounds; n != 1 {
		t.Errorf("%d rounds, want 1", n)
	}
}

func TestRemovedExplicitNameNeedsNoMessageOnceUnsubscribed(t *testing.T) {
	r, c := start(t, Options{})
	c.unsubscribe(model.TypeRoute, "r")
	c.quiet()
	g := r.publish(named(model.TypeRoute, "r"))
	r.untilAcked(g)
	c.quiet()
}

func TestWhatIsAnsweredInARoundIsTheViewOfItsStart(t *testing.T) {
	r, c := start(t, Options{})
	r.publish(cluster("b", "1"), endpoint("b", "1"), route("r", "b"), route("other", "1"))
	step := c.expect("cluster +b=1")

	// Published while the round is under way: a newer route that names c.
	last := r.publish(cluster("c", "1"), route("r", "c"), route("other", "c"), route("new", "c"),
		endpoint("b", "2"), named(model.TypeListener, "l"))
	c.ack(step)
	c.subscribe(model.TypeEndpoint, "b")
	c.take("endpoint +b=1")
	resp := c.expect("route +r=b")
	c.subscribe(model.TypeRoute, "other", "new")
	c.take("route +other=1 -new")
	c.subscribe(model.TypeRoute, "r")
	c.take("route +r=b")
	c.ack(resp)

	c.take("cluster +c=1")
	c.take("endpoint +b=2")
	c.take("route +new=c +other=c +r=c")
	c.take("listener -l")
	r.untilAcked(last)
	c.quiet()
}

func TestARouteIsNotShownBeforeItsClustersEvenWhenAskedFor(t *testing.T) {
	r, c := start(t, Options{})
	g := r.publish(cluster("b", "1"), route("r", "b"), route("new", "b"))
	step := c.expect("cluster +b=1")
	c.subscribe(model.TypeRoute, "r", "new")
	c.take("route +r=1") // and nothing yet of the new one
	c.quiet()
	c.ack(step)
	c.take("route +new=b +r=b")
	r.untilAcked(g)
}

func TestAListenerSubscriptionInARoundGetsTheOldOnesFirst(t *testing.T) {
	r := newRig(t, Options{})
	r.publish(cluster("a", "1"), listener("l", "1"), listener("gone", "1"))
	c := r.connect("n1")
	c.subscribe(model.TypeCluster)
	c.take("cluster +a=1")
	g := r.publish(cluster("b", "1"), listener("l", "2"), listener("m", "2"), named(model.TypeListener, "gone"))
	step := c.expect("cluster +b=1")
	c.subscribe(model.TypeListener)
	c.take("listener +l=1")
	c.ack(step)
	c.take("listener +l=2 +m=2")
	r.untilAcked(g)
}

func TestAnotherPublishMergesIntoTheNextRound(t *testing.T) {
	r, c := start(t, Options{})
	r.publish(route("r", "2"))
	resp := c.expect("route +r=2")
	r.publish(route("r", "3"))
	r.publish(route("r", "4"))
	back := r.publish(cluster("a", "2"), cluster("b", "1"))
	g := r.publish(cluster("a", "1"), named(model.TypeCluster, "b"))
	c.quiet()
	c.ack(resp)
	c.take("route +r=4") // clusters are back to where they were
	r.untilAcked(g)
	c.quiet()
	if back >= g {
		t.Errorf("generations %d, %d do not grow", back, g)
	}
}

func TestChangedClusterGetsItsEndpointsAgain(t *testing.T) {
	r, c := start(t, Options{})
	g := r.publish(cluster("a", "2"), route("r", "2"))
	// Envoy acknowledges the cluster only after it got the endpoints.
	first, second := c.expect("cluster +a=2"), c.expect("endpoint +a=1")
	c.quiet()
	c.ack(second)
	c.quiet()
	c.ack(first)
	c.take("route +r=2")
	r.untilAcked(g)
	c.quiet()
}

func TestChangedClusterAndEndpointsAreSentOnce(t *testing.T) {
	r, c := start(t, Options{})
	g := r.publish(cluster("a", "2"), endpoint("a", "2"))
	c.take("cluster +a=2")
	c.take("endpoint +a=2")
	r.untilAcked(g)
	c.quiet()
}

func TestScopeIsGatedByItsRoute(t *testing.T) {
	r, c := start(t, Options{})
	c.subscribe(model.TypeScope)
	c.take("scope")
	g := r.publish(scope("h", "1", "h"), route("h", "1"), named(model.TypeCluster, "a"))
	c.take("scope +h=1")
	c.quiet()
	c.subscribe(model.TypeRoute, "h")
	resp := c.expect("route +h=1")
	c.quiet()
	c.ack(resp)
	c.take("cluster -a")
	r.untilAcked(g)
}

func TestANeedThatIsNeverAskedForIsGivenUp(t *testing.T) {
	r, c := start(t, Options{NeedTimeout: 50 * time.Millisecond})
	g := r.publish(cluster("b", "1"), endpoint("b", "1"), route("r", "2"))
	c.take("cluster +b=1")
	c.take("route +r=2")
	r.untilAcked(g)
	if n := r.server.Counts().NeedTimeouts; n != 1 {
		t.Errorf("%d need timeouts, want 1", n)
	}
}

func TestClustersThatNeverWarmHoldNobodyBack(t *testing.T) {
	r, c := start(t, Options{WarmTimeout: 50 * time.Millisecond})
	c.subscribe(model.TypeRoute, "r")
	c.take("route +r=1")
	before := r.acked()
	g := r.publish(resource(model.TypeCluster, "slow", "1"), route("r", "2"))
	slow := c.expect("cluster +slow=1") // not acknowledged: its name has no address yet
	c.take("route +r=2")
	r.publish(route("r", "3"))
	c.take("route +r=3")
	if now := r.acked(); now != before {
		t.Errorf("generation %d counts as acknowledged while a cluster of it is not", now)
	}
	c.ack(slow)
	r.untilAcked(g + 1)
}

// A listener that left drains for a while and keeps its subscription to routes.
func TestAListenerThatComesBackGetsItsRoutesUnasked(t *testing.T) {
	r, c := start(t, Options{})
	r.publish(named(model.TypeListener, "l"), named(model.TypeRoute, "r"))
	c.take("route -r")
	c.take("listener -l")
	g := r.publish(listener("l", "2", "r"), route("r", "2"))
	c.take("route +r=2")
	c.take("listener +l=2")
	r.untilAcked(g)
	c.quiet()
	if n := r.server.Counts().NeedTimeouts; n != 0 {
		t.Errorf("%d need timeouts, want none", n)
	}
}

func TestANeedThatDoesNotExistIsNotWaitedFor(t *testing.T) {
	r, c := start(t, Options{})
	g := r.publish(cluster("b", "1"), route("r", "2"))
	c.take("cluster +b=1")
	c.take("route +r=2")
	r.untilAcked(g)
}

func TestListenerThatBringsScopesWaitsForThem(t *testing.T) {
	r, c := start(t, Options{})
	g := r.publish(listener("l", "2"), scope("h", "1", "h"), route("h", "1"), route("r", "2"))
	c.take("listener +l=2")
	c.quiet()
	c.subscribe(model.TypeScope)
	c.take("scope +h=1")
	c.subscribe(model.TypeRoute, "h")
	c.take("route +h=1")
	c.take("route +r=2")
	r.untilAcked(g)
	if n := r.server.Counts().NeedTimeouts; n != 0 {
		t.Errorf("%d need timeouts, want none", n)
	}
}

func TestEndpointsSkipTheQueue(t *testing.T) {
	r, c := start(t, Options{})
	c.subscribe(model.TypeSecret, "k/s")
	c.take("secret -k/s")
	r.publish(resource(model.TypeSecret, "k/s", "1"), cluster("b", "1"), endpoint("b", "1"), route("r", "2"))
	step := c.expect("cluster +b=1")

	r.publish(endpoint("a", "2"))
	first := c.expect("endpoint +a=2") // while b is unanswered
	g := r.publish(endpoint("a", "3"))
	second := c.expect("endpoint +a=3")
	r.publish(endpoint("b", "2")) // its cluster is under way: has to wait
	c.quiet()
	c.ack(second)
	c.ack(step)
	c.subscribe(model.TypeEndpoint, "b")
	c.take("endpoint +b=1")
	c.take("secret +k/s=1")
	c.take("route +r=2")
	c.take("endpoint +b=2")
	c.quiet()
	if a := r.acked(); a >= g {
		t.Errorf("generation %d is acknowledged while an endpoint response is unanswered", a)
	}
	c.ack(first)
	r.untilAcked(g + 1)
}

func TestSecretsSkipTheQueueUnlessTheirUserChanges(t *testing.T) {
	r, c := start(t, Options{})
	secret := func(v string) *model.Resource { return resource(model.TypeSecret, "s", v) }
	user := func(v string) *model.Resource {
		return resource(model.TypeListener, "tls", v, named(model.TypeSecret, "s"))
	}
	r.publish(secret("1"), user("1"))
	c.take("listener +tls=1")
	c.subscribe(model.TypeSecret, "s")
	c.take("secret +s=1")

	r.publish(route("r", "2"))
	step := c.expect("route +r=2")
	r.publish(secret("2"))
	c.take("secret +s=2")
	g := r.publish(secret("3"), user("3"))
	c.quiet()
	c.ack(step)
	c.take("secret +s=3")
	c.take("listener +tls=3")
	r.untilAcked(g)
}

func TestEndpointSentPastItsStepIsNotTakenBack(t *testing.T) {
	r, c := start(t, Options{})
	c.subscribe(model.TypeEndpoint, "b")
	c.take("endpoint -b")
	// The round's own change of a waits behind cluster b …
	r.publish(route("r", "2"))
	blocker := c.expect("route +r=2")
	r.publish(cluster("a", "2"), cluster("b", "1"), endpoint("a", "2"))
	c.ack(blocker)
	step := c.expect("cluster +a=2 +b=1")
	c.take("endpoint +a=2")
	// … and a newer one must win in any case.
	g := r.publish(endpoint("a", "3"))
	c.quiet()
	c.ack(step)
	c.take("endpoint +a=3")
	r.untilAcked(g)
	c.quiet()
}

func TestAnEmptyOrForeignChangeIsLiveAtOnce(t *testing.T) {
	r, c := start(t, Options{})
	r.untilAcked(r.publish())
	r.untilAcked(r.publish(route("nobody asked", "1")))
	c.quiet()
}
