package xds

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlspb "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/model"
)

func secret(name, content string) *model.Resource { return resource(model.TypeSecret, name, content) }

func secretName(name string) model.ResourceName { return named(model.TypeSecret, name) }

func TestWhoAnswersForAServerName(t *testing.T) {
	long := strings.Repeat("a", 244) + ".example.com" // 256 bytes
	for _, tc := range []struct{ published, asked, want string }{
		{"a.example.com *.example.com *", "a.example.com", "a.example.com"},
		{"a.example.com *.example.com *", "A.Example.COM", "a.example.com"},
		{"a.example.com *.example.com *", "b.example.com", "*.example.com"},
		{"a.example.com *.example.com *", "c.b.example.com", "*.example.com"},
		{"*.b.example.com *.example.com *", "c.b.example.com", "*.b.example.com"},
		{"*.b.example.com *.example.com *", "b.example.com", "*.example.com"},
		{"*.example.com", "example.com", ""},
		{"*.example.com *", "example.com", "*"},
		{"*.example.com *", "notexample.com", "*"},
		{"*.example.com *", model.OnDemandNoName, "*"},
		{"*.example.com", model.OnDemandNoName, ""},
		{"*.example.com", "*.example.com", "*.example.com"},
		{"*.example.com", "*", ""},
		{"*", "localhost", "*"},
		{"*", "", "*"},
		{"*.com *", ".com", "*"},
		{"*.com *", "..com", "*.com"},
		{"*", "a\xffb", ""},
		{"*", "a\x00b", ""},
		{"*", "ä.example.com", ""},
		{"*.example.com *", long, ""},
		{"*.example.com *", long[1:], "*.example.com"},
		{"a/b *", "a/b", "*"}, // never asked for here, see onDemand
	} {
		s := NewStore()
		var c model.Change
		for name := range strings.FieldsSeq(tc.published) {
			c.Upserts = append(c.Upserts, secret(name, "1"))
		}
		s.Publish(c)
		if tc.asked == "a/b" {
			if onDemand(secretName(tc.asked)) {
				t.Error("a name with a slash is asked for on demand")
			}
			continue
		}
		if got := s.origin(tc.asked); got != tc.want {
			t.Errorf("of %s, %q answers for %q; want %q", tc.published, got, tc.asked, tc.want)
		}
	}
}

func TestASecretIsSentUnderTheAskedName(t *testing.T) {
	published := &tlspb.Secret{Name: "*.example.com", Type: &tlspb.Secret_TlsCertificate{TlsCertificate: &tlspb.TlsCertificate{
		CertificateChain: &core.DataSource{Specifier: &core.DataSource_InlineString{InlineString: "certificate"}},
	}}}
	r := packed(t, secretName("*.example.com"), published)
	before := slices.Clone(r.Bytes)
	var got tlspb.Secret
	if err := proto.Unmarshal(wire(under(r, "a.example.com")), &got); err != nil {
		t.Fatal(err)
	}
	published.Name = "a.example.com"
	if !proto.Equal(&got, published) {
		t.Errorf("sent %v, want %v", &got, published)
	}
	if !slices.Equal(r.Bytes, before) || &wire(r)[0] != &r.Bytes[0] {
		t.Error("the published bytes are touched")
	}
}

// handshakes connects a client that asks for secrets only.
func handshakes(t *testing.T, change ...any) (*rig, *client) {
	t.Helper()
	r := newRig(t, Options{})
	r.publish(change...)
	return r, r.connect("n1")
}

func TestSecretsByServerName(t *testing.T) {
	r, c := handshakes(t, secret("*.example.com", "1"), secret("x/y", "1"))
	c.subscribe(model.TypeSecret, "a.example.com", "B.example.com", "unknown.org", "x/y", "x/z", model.OnDemandNoName)
	c.take("secret +a.example.com=1(*.example.com) +B.example.com=1(*.example.com) +x/y=1 -unknown.org -x/z -__default__")
	c.unsubscribe(model.TypeSecret, "unknown.org", "x/z", model.OnDemandNoName)
	c.quiet()

	r.publish(secret("*.example.com", "2"))
	c.take("secret +B.example.com=2(*.example.com) +a.example.com=2(*.example.com)")
	r.publish(secret("a.example.com", "1"), secret("b.example.com", "1"), secret("*", "1"), secret("unknown.org", "1"))
	c.take("secret +B.example.com=1(b.example.com) +a.example.com=1")
	r.publish(secret("*.example.com", "3"), secretName("a.example.com"))
	c.take("secret +a.example.com=3(*.example.com)")
	r.publish(secretName("*.example.com"))
	c.take("secret +a.example.com=1(*)")
	r.publish(secret("*.com", "1"), secret("*.example.com", "4"))
	c.take("secret +a.example.com=4(*.example.com)")
	r.publish(secretName("*.example.com"), secretName("*"))
	c.take("secret +a.example.com=1(*.com)")
	r.publish(secretName("*.com"))
	c.take("secret -a.example.com")
	r.publish(secret("a.example.com", "5")) // nobody let it go yet
	c.take("secret +a.example.com=5")
	c.unsubscribe(model.TypeSecret, "a.example.com", "B.example.com")
	c.quiet()
	r.publish(secret("a.example.com", "6"), secretName("b.example.com"))
	c.quiet()
}

func TestUnknownServerNamesAreAnsweredInTheMiddleOfARound(t *testing.T) {
	r, c := start(t, Options{})
	r.publish(cluster("b", "1"), endpoint("b", "1"), secret("*.example.com", "1"))
	step := c.expect("cluster +b=1")
	c.subscribe(model.TypeSecret, "unknown.org", "a.example.com")
	c.take("secret +a.example.com=1(*.example.com) -unknown.org")
	g := r.publish(secret("unknown.org", "1")) // behind the round, but not for a handshake
	c.take("secret +unknown.org=1")
	c.unsubscribe(model.TypeSecret, "unknown.org")
	c.subscribe(model.TypeSecret, "unknown.org", "still.unknown.org")
	c.take("secret +unknown.org=1 -still.unknown.org")
	c.ack(step)
	c.subscribe(model.TypeEndpoint, "b")
	c.take("endpoint +b=1")
	r.untilAcked(g)
	c.quiet()
}

func TestSecretsByServerNameAfterAReconnect(t *testing.T) {
	_, c := handshakes(t, secret("*.example.com", "2"), secret("b.example.com", "1"))
	c.openWith(model.TypeSecret,
		under(secret("*.example.com", "2"), "same.example.com"),
		under(secret("*.example.com", "1"), "old.example.com"),
		under(secret("*.example.com", "2"), "b.example.com"),
		secret("gone.org", "1"))
	c.take("secret +old.example.com=2(*.example.com) +b.example.com=1 -gone.org")
	c.quiet()
}

func TestRefusalsCountForThePublishedSecret(t *testing.T) {
	r, c := handshakes(t, secret("*.example.com", "1"))
	c.subscribe(model.TypeSecret, "a.example.com", "b.example.com")
	c.take("secret +a.example.com=1(*.example.com) +b.example.com=1(*.example.com)")
	r.publish(secret("*.example.com", "2"))
	c.nack(c.expect("secret +a.example.com=2(*.example.com) +b.example.com=2(*.example.com)"), "bad key")
	c.nack(c.expect("secret +a.example.com=2(*.example.com)"), "bad key")
	c.nack(c.expect("secret +b.example.com=2(*.example.com)"), "bad key")
	c.take("secret +b.example.com=1(*.example.com)") // on its way when a was refused
	p := r.until("n1", "the refusal is counted", func(p Proxy) bool { return len(p.Rejections) > 0 })
	if j := p.Rejections[0]; len(p.Rejections) != 1 || j.Resource != secretName("*.example.com") ||
		j.Hash != secret("*.example.com", "2").Hash || j.Serving != secret("*.example.com", "1").Hash || len(j.Owners) != 1 {
		t.Errorf("rejections %+v", p.Rejections)
	}
	c.subscribe(model.TypeSecret, "c.example.com")
	c.take("secret +c.example.com=1(*.example.com)")
	c.quiet()
	r.publish(secret("*.example.com", "3"))
	c.take("secret +a.example.com=3(*.example.com) +b.example.com=3(*.example.com) +c.example.com=3(*.example.com)")
	r.until("n1", "the refusal is settled", func(p Proxy) bool { return len(p.Rejections) == 0 })

	r.publish(secret("*.org", "1"))
	c.subscribe(model.TypeSecret, "a.org")
	c.nack(c.expect("secret +a.org=1(*.org)"), "bad key")
	c.subscribe(model.TypeSecret, "b.org")
	c.take("secret -b.org") // withheld, but no handshake waits for it
}

// sink is a stream to nobody that keeps what was sent.
type sink struct {
	discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	sent []*discovery.DeltaDiscoveryResponse
}

func (k *sink) Send(resp *discovery.DeltaDiscoveryResponse) error {
	k.sent = append(k.sent, resp)
	return nil
}

func (k *sink) Context() context.Context { return context.Background() }

// byHand is a stream with its sink, driven by hand.
type byHand struct {
	*stream
	sink *sink
	has  map[string]string // what the proxy has, as render writes it
}

func newByHand(store *Store) *byHand {
	srv := NewServer(store, Options{})
	k := &sink{}
	return &byHand{sink: k, has: make(map[string]string), stream: &stream{
		srv: srv, rpc: k, log: srv.opts.Log, ses: store.connect("n1", srv.opts.Now()), view: store.attach(),
		subs: make(map[model.ResourceType]*subscription), force: make(map[string]struct{}),
	}}
}

// do hands in a request, and acknowledges what comes until nothing does.
func (b *byHand) do(subscribe, unsubscribe []string) {
	typ := string(model.TypeSecret)
	if len(subscribe)+len(unsubscribe) > 0 {
		b.handle(&discovery.DeltaDiscoveryRequest{
			TypeUrl: typ, ResourceNamesSubscribe: subscribe, ResourceNamesUnsubscribe: unsubscribe,
		})
	}
	b.advance()
	for len(b.sink.sent) > 0 {
		resp := b.sink.sent[0]
		b.sink.sent = b.sink.sent[1:]
		for _, r := range resp.Resources {
			b.has[r.Name] = strings.TrimPrefix(render(&discovery.DeltaDiscoveryResponse{
				TypeUrl: typ, Resources: []*discovery.Resource{r},
			}), "secret +"+r.Name+"=")
		}
		for _, name := range resp.RemovedResources {
			b.has[name] = ""
		}
		b.handle(&discovery.DeltaDiscoveryRequest{TypeUrl: typ, ResponseNonce: resp.Nonce})
		b.advance()
	}
}

func TestUnknownServerNamesLeaveNothing(t *testing.T) {
	store := NewStore()
	store.Publish(model.Change{Upserts: []*model.Resource{secret("*.example.com", "1")}})
	b := newByHand(store)
	for i := range 20000 {
		name := fmt.Sprintf("Host%d.%s.org", i, strings.Repeat("a.", i%100))
		b.do([]string{name}, nil)
		if got, told := b.has[name]; !told || got != "" {
			t.Fatalf("%s: told %v, has %q", name, told, got)
		}
		b.do(nil, []string{name})
		delete(b.has, name)
		if i%1000 == 0 {
			store.Publish(model.Change{Upserts: []*model.Resource{secret("*.example.com", strconv.Itoa(i))}})
		}
	}
	b.do(nil, nil)
	a := b.view.asked
	if n := len(b.subs[model.TypeSecret].have) + len(b.wants) + len(b.flight) + len(b.view.old) + len(b.view.quick) +
		len(a.origins) + len(a.byOrigin) + len(a.variants) + len(a.touched); n != 0 {
		t.Errorf("%d things are left: %+v", n, a)
	}
}

// TestServerNamesAgainstBruteForce changes what is published and asked for at
// random, and compares what a proxy has with the longest name that covers.
func TestServerNamesAgainstBruteForce(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	hosts := []string{"*", "*.c", "*.b.c", "*.a.b.c", "a.b.c", "b.c", "x.a.b.c", "c", "x/y"}
	names := []string{"a.b.c", "A.b.c", "x.a.b.c", "y.a.b.c", "z.y.b.c", "b.c", "B.C", "c", "d", model.OnDemandNoName, "*.b.c", "x/y"}
	store := NewStore()
	store.Publish(model.Change{})
	b := newByHand(store)
	published, asked := map[string]string{}, map[string]bool{}
	for step := range 5000 {
		var c model.Change
		for range random.IntN(3) {
			host := hosts[random.IntN(len(hosts))]
			if _, twice := published[host+" "]; twice {
				continue
			}
			published[host+" "] = ""
			if random.IntN(3) == 0 {
				delete(published, host)
				c.Removals = append(c.Removals, secretName(host))
			} else {
				published[host] = strconv.Itoa(random.IntN(3))
				c.Upserts = append(c.Upserts, secret(host, published[host]))
			}
		}
		maps.DeleteFunc(published, func(host, _ string) bool { return strings.HasSuffix(host, " ") })
		store.Publish(c)
		var add, drop []string
		if name := names[random.IntN(len(names))]; asked[name] && random.IntN(2) == 0 {
			drop = append(drop, name)
			delete(asked, name)
			delete(b.has, name)
		} else {
			add = append(add, name)
			asked[name] = true
		}
		b.do(add, drop)
		for name := range asked {
			if want := brute(published, name); b.has[name] != want {
				t.Fatalf("step %d: the proxy has %q for %s, want %q of %v", step, b.has[name], name, want, published)
			}
		}
	}
}

func brute(published map[string]string, asked string) string {
	best := ""
	for host := range published {
		covers := model.Covers(host, strings.ToLower(asked))
		if asked == model.OnDemandNoName {
			covers = host == "*"
		}
		if strings.Contains(host+asked, "/") {
			covers = host == asked
		}
		longer := len(host) > len(best) || best == "*."+strings.TrimPrefix(host, "*.")
		if covers && (longer || host == strings.ToLower(asked)) && best != strings.ToLower(asked) {
			best = host
		}
	}
	switch best {
	case "":
		return ""
	case asked:
		return published[best]
	}
	return published[best] + "(" + best + ")"
}
