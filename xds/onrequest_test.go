package xds

import (
	"testing"

	"github.com/sluicegw/sluice/model"
)

// onRequest is a wildcard below which secrets are made when somebody asks.
func onRequest(wildcard string) *model.Resource {
	return &model.Resource{ResourceName: secretName(wildcard), OnRequest: true}
}

// requests is a rig that makes all secrets but that of no.example.com, and tells
// which were asked for.
func requests(t *testing.T, change ...any) (*rig, *client, chan string) {
	t.Helper()
	asked := make(chan string, 10)
	r := newRig(t, Options{OnRequest: func(name, wildcard string) bool {
		asked <- name + " " + wildcard
		return name != "no.example.com"
	}})
	r.publish(change...)
	return r, r.connect("n1"), asked
}

func TestSecretsOnRequest(t *testing.T) {
	r, c, asked := requests(t, onRequest("*.example.com"), secret("*", "1"), secret("own.example.com", "1"))
	c.subscribe(model.TypeSecret, "own.example.com", "other.org", "no.example.com", "A.example.com", "b.example.com")
	c.take("secret +own.example.com=1 +other.org=1(*) -no.example.com")
	for _, want := range []string{"no", "a", "b"} {
		if got := <-asked; got != want+".example.com *.example.com" {
			t.Errorf("%q is asked for", got)
		}
	}
	c.quiet()
	r.publish(secret("a.example.com", "1"))
	c.take("secret +A.example.com=1(a.example.com)")
	r.store.Decline("b.example.com")
	c.take("secret -b.example.com")
	r.store.Decline("b.example.com")
	r.store.Decline("a.example.com") // nobody waits for it
	c.quiet()
	r.publish(secret("a.example.com", "2"), secret("b.example.com", "1"))
	c.take("secret +A.example.com=2(a.example.com) +b.example.com=1")
	r.publish(secretName("*.example.com"), secretName("a.example.com"))
	c.take("secret +A.example.com=1(*) +no.example.com=1(*)")
	if len(asked) > 0 {
		t.Errorf("%q is asked for, which nothing makes", <-asked)
	}
	c.quiet()
}

// A wildcard on request is nothing that anybody can see.
func TestWildcardsOnRequestAreNotListed(t *testing.T) {
	r, c, _ := requests(t, onRequest("*.example.com"), secret("x/y", "1"))
	if all := r.store.Resources(model.TypeSecret); len(all) != 1 || all[0].Name != "x/y" || r.store.Get(secretName("*.example.com")) != nil {
		t.Errorf("the secrets are %v", all)
	}
	// A certificate takes its place, and it takes the place of one.
	r.publish(secret("*.example.com", "1"))
	c.subscribe(model.TypeSecret, "a.example.com")
	c.take("secret +a.example.com=1(*.example.com)")
	r.publish(onRequest("*.example.com"))
	c.take("secret -a.example.com")
	c.quiet()
}

// A client that waits for a certificate does not wait for a round on top.
func TestSecretsOnRequestComeInTheMiddleOfARound(t *testing.T) {
	r, c := start(t, Options{OnRequest: func(string, string) bool { return true }})
	r.publish(onRequest("*.example.com"))
	c.subscribe(model.TypeSecret, "a.example.com", "b.example.com")
	r.publish(cluster("b", "1"))
	step := c.expect("cluster +b=1")
	g := r.publish(secret("a.example.com", "1"), route("r", "2"))
	c.take("secret +a.example.com=1")
	r.store.Decline("b.example.com")
	c.take("secret -b.example.com")
	c.ack(step)
	c.take("route +r=2")
	r.untilAcked(g)
	c.quiet()
}

// Who comes back keeps a certificate until it is known whether there is one.
func TestSecretsOnRequestAfterAReconnect(t *testing.T) {
	r, c, _ := requests(t, onRequest("*.example.com"))
	c.openWith(model.TypeSecret, secret("a.example.com", "1"), secret("b.example.com", "1"), secret("no.example.com", "1"))
	c.take("secret -no.example.com")
	r.publish(secret("a.example.com", "2"))
	c.take("secret +a.example.com=2")
	r.store.Decline("b.example.com")
	c.take("secret -b.example.com")
	c.quiet()
}
