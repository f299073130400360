package xds

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/sluicegw/sluice/model"
)

func TestASlowReaderHoldsUpNobody(t *testing.T) {
	r := newRig(t, Options{})
	r.publish(cluster("a", "1"))
	slow := r.connect("slow")
	// The client's reader stops after 100 responses; flow control then stops
	// the sender of this stream.
	big := func(i int) *model.Resource {
		return resource(model.TypeEndpoint, fmt.Sprintf("e%03d", i), strings.Repeat("x", 1<<17))
	}
	var names []string
	var c model.Change
	for i := range 300 {
		c.Upserts = append(c.Upserts, big(i))
		names = append(names, c.Upserts[i].Name)
	}
	r.store.Publish(c)
	for _, name := range names {
		slow.subscribe(model.TypeEndpoint, name)
	}
	quick := r.connect("n1")
	quick.subscribe(model.TypeListener)
	quick.take("listener")
	quick.subscribe(model.TypeCluster)
	quick.take("cluster +a=1")
	for i := range 20 {
		g := r.publish(cluster("a", fmt.Sprint(i+2)))
		quick.take(fmt.Sprintf("cluster +a=%d", i+2))
		r.untilAcked(g)
	}
	if n := r.server.Counts().Resources[model.TypeEndpoint]; n >= uint64(len(names)) {
		t.Errorf("sent %d responses to a client that does not read", n)
	}
	for range names {
		slow.ack(slow.next())
	}
	slow.quiet()
}

func TestTwoStreamsOfOneNodeAreGatedApart(t *testing.T) {
	r, old := start(t, Options{})
	young := r.connect("n1")
	young.subscribe(model.TypeCluster)
	resp := young.expect("cluster +a=1")
	p := r.until("n1", "there are two streams", func(p Proxy) bool { return p.Streams == 2 })
	if p.Acked != 0 {
		t.Errorf("acked generation %d is not that of the newest stream", p.Acked)
	}
	g := r.publish(route("r", "2"))
	old.take("route +r=2") // does not wait for the young one
	old.quiet()
	if a := r.acked(); a != 0 {
		t.Errorf("acked generation %d is not that of the newest stream", a)
	}
	young.ack(resp)
	young.subscribe(model.TypeListener)
	young.take("listener +l=1")
	young.subscribe(model.TypeEndpoint, "a")
	young.take("endpoint +a=1")
	young.subscribe(model.TypeRoute, "r")
	young.take("route +r=1") // its own round has not come to routes
	young.take("route +r=2")
	r.untilAcked(g)
	old.cancel()
	p = r.until("n1", "the old stream is gone", func(p Proxy) bool { return p.Streams == 1 })
	if !p.Connected || p.Acked != g {
		t.Errorf("proxy is %+v", p)
	}
	young.cancel()
	p = r.until("n1", "it is gone", func(p Proxy) bool { return !p.Connected })
	if p.Streams != 0 || p.Acked != g {
		t.Errorf("proxy is %+v", p)
	}
}

func TestProgressTellsOfEveryChange(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	now := time.Unix(1000, 0)
	store := NewStore()
	server := NewServer(store, Options{Now: func() time.Time { return now }, OnProgress: func(p Progress) {
		mu.Lock()
		defer mu.Unlock()
		store.Proxies() // no lock is held
		line := fmt.Sprintf("%d %s %t %d %d",
			p.At.Unix(), p.Proxy.Node, p.Proxy.Connected, p.Proxy.Acked, len(p.Proxy.Rejections))
		if len(seen) == 0 || seen[len(seen)-1] != line {
			seen = append(seen, line)
		}
	}})
	r := &rig{t: t, store: store, server: server, changed: make(chan struct{}, 1)}
	r.serve()
	r.publish(cluster("a", "1"))
	c := r.connect("n1")
	c.subscribe(model.TypeCluster)
	c.take("cluster +a=1")
	c.subscribe(model.TypeListener)
	c.take("listener")
	c.quiet()
	r.publish(cluster("a", "2"))
	c.nack(c.expect("cluster +a=2"), "no")
	c.quiet()
	r.publish(cluster("a", "3"))
	c.take("cluster +a=3")
	c.quiet()
	c.cancel()
	<-c.ended
	r.grpc.GracefulStop()
	want := []string{
		"1000 n1 true 0 0", "1000 n1 true 1 0", "1000 n1 true 1 1", "1000 n1 true 2 1", "1000 n1 true 3 0", "1000 n1 false 3 0",
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(seen, want) {
		t.Errorf("progress was\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
}

func TestAVanishedPeerEndsItsStream(t *testing.T) {
	r := newRig(t, Options{})
	r.publish(cluster("a", "1"))
	c := r.connect("n1")
	c.subscribe(model.TypeCluster)
	c.expect("cluster +a=1")
	c.conn.Close() // in the middle of an exchange, without a farewell
	r.until("n1", "it is gone", func(p Proxy) bool { return !p.Connected })
	r.publish(cluster("a", "2"))
	if n := r.server.Counts().Streams; n != 0 {
		t.Errorf("%d streams, want none", n)
	}
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if n := len(r.store.views); n != 0 {
		t.Errorf("%d views, want none", n)
	}
}

func TestAPeerThatStopsLivingEndsItsStream(t *testing.T) {
	r := &rig{t: t, store: NewStore(), changed: make(chan struct{}, 1), frozen: make(chan struct{})}
	r.server = NewServer(r.store, r.options())
	// A second is the least that gRPC takes.
	r.serveAt(socketPath(t), grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Second, Timeout: time.Second}))
	r.publish(cluster("a", "1"))
	c := r.connect("n1")
	c.subscribe(model.TypeCluster)
	c.expect("cluster +a=1")
	close(r.frozen)
	r.until("n1", "it is gone", func(p Proxy) bool { return !p.Connected })
}

// pushedBy returns what the publication of c sends to the client, which
// acknowledges it.
func (r *rig) pushedBy(c *client, change ...any) (resources, bytes uint64) {
	r.t.Helper()
	sum := func(m map[model.ResourceType]uint64) (n uint64) {
		for _, v := range m {
			n += v
		}
		return n
	}
	before := r.server.Counts()
	g := r.publish(change...)
	c.ack(c.next())
	r.untilAcked(g)
	c.quiet()
	after := r.server.Counts()
	return sum(after.Resources) - sum(before.Resources), sum(after.Bytes) - sum(before.Bytes)
}

// world returns n scopes with their routes.
func world(n int) (c model.Change, routes []string) {
	for i := range n {
		name := fmt.Sprintf("h%05d", i)
		c.Upserts = append(c.Upserts, scope(name, "1", name), route(name, "1"))
		routes = append(routes, name)
	}
	return c, routes
}

// many connects a client that has n scopes and their routes.
func many(t testing.TB, n int) (*rig, *client) {
	r := newRig(t, Options{})
	change, routes := world(n)
	r.store.Publish(change)
	c := r.connect("n1")
	c.subscribe(model.TypeCluster)
	c.take("cluster")
	c.subscribe(model.TypeListener)
	c.take("listener")
	c.subscribe(model.TypeRoute, routes...)
	c.subscribe(model.TypeScope)
	for range 2 * ((n + maxResponseResources - 1) / maxResponseResources) {
		c.ack(c.next())
	}
	r.untilAcked(1)
	return r, c
}

// BenchmarkPublishOne measures one change among many resources, from Publish
// to the acknowledgement of a client that does nothing with it.
func BenchmarkPublishOne(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r, c := many(b, n)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				g := r.publish(route("h00050", fmt.Sprint("edit ", i)))
				c.ack(c.next())
				r.untilAcked(g)
			}
		})
	}
}

func TestOneChangeCostsTheSameAmongManyResources(t *testing.T) {
	allocs := make(map[int]float64)
	for _, n := range []int{100, 10_000} {
		r, c := many(t, n)
		edit := route("h00050", "2")
		resources, bytes := r.pushedBy(c, edit)
		if resources != 1 || bytes != uint64(len(edit.Bytes)) {
			t.Errorf("an edit among %d pushed %d resources of %d bytes, want 1 of %d", n, resources, bytes, len(edit.Bytes))
		}
		i := 2
		allocs[n] = testing.AllocsPerRun(20, func() {
			i++
			g := r.publish(route("h00050", fmt.Sprint(i)))
			c.ack(c.next())
			r.untilAcked(g)
		})
		c.cancel()
		r.until("n1", "it is gone", func(p Proxy) bool { return !p.Connected })
	}
	t.Logf("allocations per edit: %v", allocs)
	// Measured: around 120 for both, of gRPC and the client too.
	if allocs[10_000] > allocs[100]+100 {
		t.Errorf("allocations per edit grow with the resources: %v", allocs)
	}
}

func TestListenUnix(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := socketPath(t)
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	mode := func() os.FileMode {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return st.Mode().Perm()
	}
	if m := mode(); m != 0o600 {
		t.Errorf("mode is %v", m)
	}
	if _, err := ListenUnix(path); err == nil {
		t.Error("took the socket of a living listener")
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	syscall.Umask(0o277)
	l, err = ListenUnix(path)
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	if m := mode(); m != 0o600 {
		t.Errorf("mode is %v", m)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(path), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenUnix(file); err == nil {
		t.Error("replaced a file that is no socket")
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	r, c := start(t, Options{Registerer: reg})
	c.nack(c.fence(), "odd")
	g := r.publish(route("r", "2"))
	c.take("route +r=2")
	r.untilAcked(g)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"sluice_xds_pushed_resources_total route":   2,
		"sluice_xds_pushed_resources_total cluster": 1,
		"sluice_xds_pushed_bytes_total route":       float64(2 * len("route/r=1")),
		"sluice_xds_pushed_removals_total other":    1,
		"sluice_xds_acks_total":                     5,
		"sluice_xds_nacks_total other":              1,
		"sluice_xds_nacks_total route":              0,
		"sluice_xds_rounds_total":                   1,
		"sluice_xds_round_duration_seconds":         1,
		"sluice_xds_need_timeouts_total":            0,
		"sluice_xds_streams":                        1,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (present: %v), want %v", name, v, ok, want)
		}
	}
}

func TestStreamsRacing(t *testing.T) {
	r := newRig(t, Options{})
	const proxies, rounds = 4, 200
	var wg sync.WaitGroup
	for i := range proxies {
		c := r.connect(fmt.Sprint("n", i))
		wg.Go(func() {
			c.subscribe(model.TypeListener)
			c.subscribe(model.TypeCluster)
			c.follow()
		})
	}
	var g Generation
	for i := range rounds {
		name := fmt.Sprint(i % 7)
		if i%3 == 2 {
			g = r.publish(named(model.TypeCluster, name), named(model.TypeEndpoint, name))
		} else {
			g = r.publish(cluster(name, fmt.Sprint(i/5)), endpoint(name, fmt.Sprint(i)))
		}
	}
	for i := range proxies {
		r.until(fmt.Sprint("n", i), "all is acknowledged", func(p Proxy) bool { return p.Acked == g })
	}
	r.grpc.Stop()
	wg.Wait()
}

// follow acts as Envoy does until the stream ends: it acknowledges what comes
// and asks for the endpoints of clusters that it did not have.
func (c *client) follow() {
	have := make(map[string]bool)
	for {
		select {
		case resp := <-c.got:
			var add, drop []string
			if resp.TypeUrl == string(model.TypeCluster) {
				for _, r := range resp.Resources {
					if !have[r.Name] {
						add = append(add, r.Name)
					}
					have[r.Name] = true
				}
				for _, name := range resp.RemovedResources {
					drop = append(drop, name)
					delete(have, name)
				}
			}
			c.tryAck(resp)
			c.tryChange(model.TypeEndpoint, add, drop)
		case err := <-c.ended:
			if errors.Is(err, io.EOF) {
				c.t.Error("the server ended the stream")
			}
			return
		}
	}
}
