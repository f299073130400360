package ondemand

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegw/sluice/model"
)

// rig is a gate, and what it told.
type rig struct {
	*Gate
	t        *testing.T
	mu       sync.Mutex
	said     []string
	answer   int // of who is asked; 0: a fault
	asked    []string
	patience time.Duration
}

// pass lets time pass, which costs none here.
func pass(d time.Duration) { <-time.After(d) }

// RoundTrip implements http.RoundTripper: whoever is asked takes a second.
func (r *rig) RoundTrip(req *http.Request) (*http.Response, error) {
	pass(time.Second)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, req.URL.String())
	if r.answer == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return &http.Response{StatusCode: r.answer, Body: io.NopCloser(strings.NewReader(""))}, nil
}

// gated runs a test in a time of its own, with a gate below *.shop.test.
func gated(t *testing.T, o Options, test func(r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, patience: 12 * time.Second}
		o.Client = &http.Client{Transport: r}
		o.OnWant = func(names map[string]bool) {
			for name, wanted := range names {
				r.say(map[bool]string{true: "+", false: "-"}[wanted] + name)
			}
		}
		o.OnDecline = func(name string) { r.say("no " + name) }
		r.Gate = New(o)
		r.Rule([]model.Issuer{{Wildcard: "*.shop.test"}})
		test(r)
	})
}

func (r *rig) say(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, what)
}

// answers sets what whoever is asked says.
func (r *rig) answers(code int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = code
}

// told expects what the gate told since the last call, in any order.
func (r *rig) told(want ...string) {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.said)
	slices.Sort(want)
	if diff := cmp.Diff(want, r.said); diff != "" {
		r.t.Errorf("told (-want +got)\n%s", diff)
	}
	r.said = nil
}

// asks expects whether it is worth while to wait for names.
func (r *rig) asks(worth bool, names ...string) {
	r.t.Helper()
	for _, name := range names {
		if got := r.Ask(name); got != worth {
			r.t.Errorf("%s: %v, want %v", name, got, worth)
		}
	}
}

func TestANameIsWantedOnce(t *testing.T) {
	gated(t, Options{}, func(r *rig) {
		r.asks(true, "a.shop.test", "a.shop.test")
		r.told("+a.shop.test")
		r.asks(true, "a.shop.test")
		r.Issued("a.shop.test")
		r.Issued("declared.test")
		pass(time.Hour)
		r.told() // who was served waits no longer
		r.Lost("a.shop.test")
		r.asks(true, "a.shop.test")
		r.told()
		pass(r.patience)
		r.told("no a.shop.test")
	})
}

func TestNamesThatAreNotAllowed(t *testing.T) {
	gated(t, Options{}, func(r *rig) {
		r.asks(false, "shop.test", "a.other.test", "a..shop.test", "-a.shop.test", "a_b.shop.test", "*.shop.test",
			strings.Repeat("a", 64)+".shop.test", strings.Repeat("a.", 130)+"shop.test")
		r.Rule([]model.Issuer{{Wildcard: "*", Allowed: []string{"*.b.test", "c.test"}}, {Wildcard: "*.shop.test", Allowed: []string{""}}})
		r.asks(false, "a.shop.test", "b.test", "a.c.test", "127.0.0.1", "localhost")
		r.asks(true, "a.b.test", "c.test")
		r.told("+a.b.test", "+c.test")
		r.Rule([]model.Issuer{{Wildcard: "*", Allowed: []string{"c.test"}}})
		r.told("-a.b.test", "no a.b.test")
		r.Issued("c.test")
	})
}

func TestWhoIsAskedHasTheLastWord(t *testing.T) {
	gated(t, Options{AskURL: "http://who.test/may?key=1"}, func(r *rig) {
		r.answers(204)
		r.asks(true, "a.shop.test")
		r.told()
		pass(time.Second)
		r.told("+a.shop.test")
		r.answers(302)
		r.asks(true, "b.shop.test")
		pass(time.Second)
		r.told("no b.shop.test")
		r.asks(false, "b.shop.test")
		r.answers(0)
		r.asks(true, "c.shop.test")
		pass(time.Second)
		r.told("no c.shop.test")
		r.asks(false, "c.shop.test")
		pass(faultHolds)
		r.asks(true, "c.shop.test") // it may have been a short fault
		r.asks(false, "b.shop.test")
		pass(refusalHolds)
		r.answers(200)
		r.asks(true, "b.shop.test")
		pass(time.Second)
		r.told("no c.shop.test", "+b.shop.test", "no a.shop.test") // a was never issued
		want := []string{"a", "b", "c", "c", "b"}
		for i, name := range want {
			want[i] = "http://who.test/may?domain=" + name + ".shop.test&key=1"
		}
		if diff := cmp.Diff(want, r.asked); diff != "" {
			t.Errorf("asked (-want +got)\n%s", diff)
		}
		pass(r.patience)
	})
}

// A name that leaves while somebody is asked about it is not ordered.
func TestARuleThatGoesMeanwhile(t *testing.T) {
	gated(t, Options{AskURL: "http://who.test/"}, func(r *rig) {
		r.answers(200)
		r.asks(true, "a.shop.test")
		r.Rule(nil)
		pass(time.Minute)
		r.told("-a.shop.test", "no a.shop.test")
		r.asks(false, "a.shop.test")
	})
}

func TestNobodyWaitsForFailures(t *testing.T) {
	gated(t, Options{MaxFailing: 2, Forget: 10 * time.Minute}, func(r *rig) {
		names := []string{"a.shop.test", "b.shop.test", "c.shop.test"}
		for _, name := range names {
			r.asks(true, name)
			pass(time.Second)
		}
		r.told("+a.shop.test", "+b.shop.test", "+c.shop.test")
		r.Failed("a.shop.test")
		r.Failed("b.shop.test")
		r.Failed("declared.test")
		r.asks(false, "a.shop.test") // now b was not asked for for the longest time
		r.told("no a.shop.test", "no b.shop.test")
		r.Failed("c.shop.test")
		r.told("no c.shop.test", "-b.shop.test")
		r.Issued("a.shop.test")
		r.Failed("a.shop.test") // a renewal: the certificate is there yet
		r.asks(true, "a.shop.test")
		r.Issued("a.shop.test")
		ctx, stop := context.WithCancel(r.t.Context())
		defer stop()
		go func() { _ = r.Run(ctx) }()
		pass(12 * time.Minute)
		r.told("-c.shop.test")
		r.asks(true, "b.shop.test")
		r.told("+b.shop.test")
		r.Issued("b.shop.test")
	})
}

func TestBounds(t *testing.T) {
	gated(t, Options{MaxNames: 5, MaxWaiting: 3}, func(r *rig) {
		var names, wanted []string
		for i := range 10 {
			names = append(names, fmt.Sprintf("h%d.shop.test", i))
			wanted = append(wanted, "+"+names[i])
		}
		r.asks(true, names[:3]...)
		r.asks(false, names[3:]...)
		r.asks(true, names[0]) // it is waited for already
		r.told(wanted[:3]...)
		r.Issued(names[0])
		r.asks(true, names[3])
		r.asks(false, names[4])
		r.Issued(names[1])
		r.Issued(names[2])
		r.Issued(names[3])
		r.asks(true, names[4])
		r.Issued(names[4])
		r.asks(false, names[5:]...)
		r.told(wanted[3:5]...)
		r.Rule([]model.Issuer{{Wildcard: "*.shop.test", Allowed: names[1:6]}})
		r.told("-" + names[0])
		r.asks(true, names[5])
		r.Issued(names[5])
		r.told(wanted[5])
	})
}

func TestCheckURL(t *testing.T) {
	for text, good := range map[string]bool{
		"http://127.0.0.1:8080/may": true, "https://who.example.com": true, "who.example.com": false, "ftp://x/": false, "": false, "http://": false, ":": false,
	} {
		if err := CheckURL(text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}
