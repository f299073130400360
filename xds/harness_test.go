package xds

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sluicegw/sluice/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; no test passes by waiting for it.
const patience = 20 * time.Second

// rig is a store and a server behind a real unix socket.
type rig struct {
	t       testing.TB
	store   *Store
	server  *Server
	grpc    *grpc.Server
	path    string
	changed chan struct{}
	frozen  chan struct{} // nil: never
}

func newRig(t testing.TB, o Options) *rig {
	t.Helper()
	r := &rig{t: t, store: NewStore(), changed: make(chan struct{}, 1)}
	o.OnProgress = r.options().OnProgress
	r.server = NewServer(r.store, o)
	r.serve()
	return r
}

func (r *rig) options() Options {
	return Options{OnProgress: func(Progress) {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}}
}

func (r *rig) serve() {
	r.t.Helper()
	r.serveAt(socketPath(r.t))
}

func (r *rig) serveAt(path string, o ...grpc.ServerOption) {
	r.t.Helper()
	r.path = path
	l, err := ListenUnix(r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.grpc = grpc.NewServer(append(GRPCOptions(), o...)...)
	r.server.Register(r.grpc)
	done := make(chan error, 1)
	server := r.grpc
	go func() { done <- server.Serve(l) }()
	r.t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			r.t.Errorf("serve: %v", err)
		}
	})
}

func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "x")
}

// publish publishes upserts and removals, told apart by their type.
func (r *rig) publish(change ...any) Generation {
	r.t.Helper()
	var c model.Change
	for _, x := range change {
		switch x := x.(type) {
		case *model.Resource:
			c.Upserts = append(c.Upserts, x)
		case model.ResourceName:
			c.Removals = append(c.Removals, x)
		default:
			r.t.Fatalf("cannot publish a %T", x)
		}
	}
	return r.store.Publish(c)
}

// until waits until the state of the node satisfies ok.
func (r *rig) until(node, what string, ok func(Proxy) bool) Proxy {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		i := slices.IndexFunc(r.store.Proxies(), func(p Proxy) bool { return p.Node == node })
		if i >= 0 {
			if p := r.store.Proxies()[i]; ok(p) {
				return p
			}
		}
		select {
		case <-r.changed:
		case <-deadline:
			r.t.Fatalf("waiting until %s: proxies are %+v", what, r.store.Proxies())
		}
	}
}

func (r *rig) untilAcked(g Generation) {
	r.t.Helper()
	r.until("n1", fmt.Sprintf("generation %d is acknowledged", g), func(p Proxy) bool { return p.Acked == g })
}

func (r *rig) acked() Generation { return r.store.Proxies()[0].Acked }

// client is a scripted proxy.
type client struct {
	t      testing.TB
	node   string
	rpc    discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	got    chan *discovery.DeltaDiscoveryResponse
	ended  chan error
	conn   *grpc.ClientConn
	cancel func()
	fences int
}

// dial connects through a connection that stops passing anything on when
// r.frozen is closed.
func (r *rig) dial() *grpc.ClientConn {
	r.t.Helper()
	conn, err := grpc.NewClient("passthrough:///sluice", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "unix", r.path)
			return &freezer{Conn: c, frozen: r.frozen, closed: make(chan struct{})}, err
		}))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

func (r *rig) connect(node string) *client {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	conn := r.dial()
	rpc, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	c := &client{
		t: r.t, node: node, rpc: rpc, conn: conn, cancel: cancel,
		got: make(chan *discovery.DeltaDiscoveryResponse, 100), ended: make(chan error, 1),
	}
	go func() {
		for {
			resp, err := rpc.Recv()
			if err != nil {
				c.ended <- err
				return
			}
			c.got <- resp
		}
	}()
	r.t.Cleanup(cancel)
	return c
}

// freezer is a connection of a peer that stops living but does not hang up.
type freezer struct {
	net.Conn
	frozen chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (f *freezer) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	select {
	case <-f.frozen:
		<-f.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (f *freezer) Close() error {
	f.once.Do(func() { close(f.closed) })
	return f.Conn.Close()
}

func (c *client) request(req *discovery.DeltaDiscoveryRequest) {
	c.t.Helper()
	req.Node = &core.Node{Id: c.node}
	if err := c.rpc.Send(req); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

func (c *client) subscribe(t model.ResourceType, names ...string) {
	c.t.Helper()
	c.request(&discovery.DeltaDiscoveryRequest{TypeUrl: string(t), ResourceNamesSubscribe: names})
}

// openWith subscribes as a proxy does that connects again and has resources.
func (c *client) openWith(t model.ResourceType, have ...*model.Resource) {
	c.t.Helper()
	req := &discovery.DeltaDiscoveryRequest{TypeUrl: string(t), InitialResourceVersions: make(map[string]string)}
	for _, res := range have {
		req.InitialResourceVersions[res.Name] = version(res)
		if !wildcard(t) {
			req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, res.Name)
		}
	}
	c.request(req)
}

func (c *client) unsubscribe(t model.ResourceType, names ...string) {
	c.t.Helper()
	c.request(&discovery.DeltaDiscoveryRequest{TypeUrl: string(t), ResourceNamesUnsubscribe: names})
}

func (c *client) ack(resp *discovery.DeltaDiscoveryResponse) {
	c.t.Helper()
	c.request(&discovery.DeltaDiscoveryRequest{TypeUrl: resp.TypeUrl, ResponseNonce: resp.Nonce})
}

// tryAck and tryChange are for goroutines and for streams that may be over.
func (c *client) tryAck(resp *discovery.DeltaDiscoveryResponse) {
	_ = c.rpc.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: resp.TypeUrl, ResponseNonce: resp.Nonce})
}

func (c *client) tryChange(t model.ResourceType, add, drop []string) {
	if len(add)+len(drop) > 0 {
		_ = c.rpc.Send(&discovery.DeltaDiscoveryRequest{
			TypeUrl: string(t), ResourceNamesSubscribe: add, ResourceNamesUnsubscribe: drop,
		})
	}
}

func (c *client) nack(resp *discovery.DeltaDiscoveryResponse, detail string) {
	c.t.Helper()
	c.request(&discovery.DeltaDiscoveryRequest{
		TypeUrl: resp.TypeUrl, ResponseNonce: resp.Nonce, ErrorDetail: &rpcstatus.Status{Code: 13, Message: detail},
	})
}

func (c *client) next() *discovery.DeltaDiscoveryResponse {
	c.t.Helper()
	select {
	case resp := <-c.got:
		return resp
	case err := <-c.ended:
		c.t.Fatalf("stream ended: %v", err)
	case <-time.After(patience):
		c.t.Fatal("no response")
	}
	return nil
}

// expect waits for a response and compares it, written as
// "cluster +a=1 +b=2 -c": a has content 1, c is removed. "secret +a.b=1(*.b)" is
// what was published as *.b, under the name a.b.
func (c *client) expect(want string) *discovery.DeltaDiscoveryResponse {
	c.t.Helper()
	resp := c.next()
	if got := render(resp); got != want {
		c.t.Fatalf("response is %q, want %q", got, want)
	}
	return resp
}

// take expects a response and acknowledges it.
func (c *client) take(want string) {
	c.t.Helper()
	c.ack(c.expect(want))
}

func render(resp *discovery.DeltaDiscoveryResponse) string {
	words := []string{model.ResourceType(resp.TypeUrl).Short()}
	for _, r := range resp.Resources {
		bytes, origin := r.Resource.Value, ""
		if plain, ok := strings.CutSuffix(string(bytes), "\n"+string(rune(len(r.Name)))+r.Name); ok {
			bytes = []byte(plain)
			origin = "(" + plain[strings.IndexByte(plain, '/')+1:strings.LastIndexByte(plain, '=')] + ")"
		}
		words = append(words, "+"+r.Name+"="+content(bytes)+origin)
		if want := strconv.FormatUint(xxhash.Sum64(bytes), 16); r.Version != want {
			words = append(words, "version "+r.Version+" is not "+want)
		}
	}
	for _, name := range resp.RemovedResources {
		words = append(words, "-"+name)
	}
	return strings.Join(words, " ")
}

// content cuts off the type and name that make the bytes of test resources
// unlike each other.
func content(b []byte) string { return string(b[strings.LastIndexByte(string(b), '=')+1:]) }

const fenceType = "fence"

// quiet asserts that the server has nothing to send. It asks twice for a type
// that nobody serves: after the first answer the server did all it could do
// before it read the second request.
func (c *client) quiet() {
	c.t.Helper()
	for range 2 {
		c.ack(c.fence())
	}
}

func (c *client) fence() *discovery.DeltaDiscoveryResponse {
	c.t.Helper()
	c.fences++
	name := strconv.Itoa(c.fences)
	c.subscribe(fenceType, name)
	return c.expect(fenceType + " -" + name)
}

func resource(t model.ResourceType, name, content string, needs ...model.ResourceName) *model.Resource {
	b := []byte(t.Short() + "/" + name + "=" + content)
	return &model.Resource{
		ResourceName: model.ResourceName{Type: t, Name: name}, Bytes: b, Hash: xxhash.Sum64(b), Needs: needs,
		Owners: []model.Ref{{Kind: "Owner", Namespace: "default", Name: name}},
	}
}

func named(t model.ResourceType, name string) model.ResourceName {
	return model.ResourceName{Type: t, Name: name}
}

func cluster(name, content string) *model.Resource {
	return resource(model.TypeCluster, name, content, named(model.TypeEndpoint, name))
}

func endpoint(name, content string) *model.Resource {
	return resource(model.TypeEndpoint, name, content)
}

func listener(name, content string, routes ...string) *model.Resource {
	var needs []model.ResourceName
	for _, route := range routes {
		needs = append(needs, named(model.TypeRoute, route))
	}
	return resource(model.TypeListener, name, content, needs...)
}

func route(name, content string) *model.Resource { return resource(model.TypeRoute, name, content) }

func scope(name, content, route string) *model.Resource {
	return resource(model.TypeScope, name, content, named(model.TypeRoute, route))
}

// start connects a client that has cluster a with endpoints, listener l and its
// route r, all with content 1, as generation 1.
func start(t *testing.T, o Options) (*rig, *client) {
	t.Helper()
	r := newRig(t, o)
	r.publish(cluster("a", "1"), endpoint("a", "1"), listener("l", "1", "r"), route("r", "1"))
	c := r.connect("n1")
	c.subscribe(model.TypeCluster)
	c.take("cluster +a=1")
	c.subscribe(model.TypeEndpoint, "a")
	c.take("endpoint +a=1")
	c.subscribe(model.TypeListener)
	c.take("listener +l=1")
	c.subscribe(model.TypeRoute, "r")
	c.take("route +r=1")
	r.untilAcked(1)
	return r, c
}
