package xds

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clusterpb "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerpb "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/sluicegw/sluice/model"
)

func TestEnvoyLosesNothingWhenRoutesMoveBetweenNewClusters(t *testing.T) {
	r := newRig(t, Options{})
	ports := []uint32{backend(t, "0"), backend(t, "1")}
	front := freePort(t)
	name := func(i int) string { return fmt.Sprintf("c%d", i) }
	r.untilAckedAfter(func() Generation {
		runEnvoy(t, r)
		return r.publish(
			realCluster(t, name(0), time.Second), realEndpoint(t, name(0), ports[0]),
			realListener(t, "l", front), realRoute(t, "l", toCluster(name(0))),
		)
	})
	c := web(t)
	wantAnswer(t, c, front, "200 0")

	const flips, perFlip = 50, 20
	var sent sync.WaitGroup
	var bad atomic.Int64
	var example atomic.Value
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := 1; i <= flips; i++ {
		r.untilAckedAfter(func() Generation {
			for range perFlip {
				<-tick.C
				sent.Go(func() {
					if status, _, err := get(c, front); status != http.StatusOK || err != nil {
						bad.Add(1)
						example.Store(fmt.Sprint(status, " ", err))
					}
				})
			}
			return r.publish(
				realCluster(t, name(i), time.Second), realEndpoint(t, name(i), ports[i%2]),
				realRoute(t, "l", toCluster(name(i))),
				named(model.TypeCluster, name(i-1)), named(model.TypeEndpoint, name(i-1)),
			)
		})
	}
	sent.Wait()
	if n := bad.Load(); n != 0 {
		t.Errorf("%d of %d requests were not answered 200, for example %v", n, flips*perFlip, example.Load())
	}
	wantAnswer(t, c, front, "200 "+fmt.Sprint(flips%2))
	counts := r.server.Counts()
	if counts.NeedTimeouts != 0 || len(r.store.Proxies()[0].Rejections) != 0 {
		t.Errorf("counts %+v, proxies %+v", counts, r.store.Proxies())
	}
	if n := counts.Resources[model.TypeEndpoint]; n != flips+1 {
		t.Errorf("sent %d endpoint sets for %d clusters", n, flips+1)
	}
}

// untilAckedAfter publishes and waits until node n1 has it.
func (r *rig) untilAckedAfter(publish func() Generation) {
	r.t.Helper()
	r.untilAcked(publish())
}

func TestEnvoyWarmsAChangedCluster(t *testing.T) {
	r := newRig(t, Options{})
	port, front := backend(t, "b"), freePort(t)
	runEnvoy(t, r)
	r.untilAcked(r.publish(
		realCluster(t, "c", time.Second), realEndpoint(t, "c", port),
		realListener(t, "l", front), realRoute(t, "l", toCluster("c")),
	))
	c := web(t)
	for i := range 5 {
		r.untilAcked(r.publish(realCluster(t, "c", time.Duration(i+2)*time.Second)))
		wantAnswer(t, c, front, "200 b")
		if warming := r.envoyStat("cluster_manager.warming_clusters"); warming != "0" {
			t.Fatalf("%s clusters warm for ever", warming)
		}
	}
}

func TestEnvoyRefusesOneOfSeveral(t *testing.T) {
	r := newRig(t, Options{})
	one, two := freePort(t), freePort(t)
	runEnvoy(t, r)
	r.untilAcked(r.publish(
		realListener(t, "one", one), realRoute(t, "one", directly(201, prefix())),
		realListener(t, "two", two), realRoute(t, "two", directly(201, prefix())),
	))
	c := web(t)
	bad := realRoute(t, "two", directly(202, badRegex()))
	noChain := packed(t, named(model.TypeListener, "three"), &listenerpb.Listener{Name: "three", Address: address(freePort(t))})
	noType := packed(t, named(model.TypeCluster, "c"), &clusterpb.Cluster{
		Name: "c", ClusterDiscoveryType: &clusterpb.Cluster_Type{Type: clusterpb.Cluster_EDS},
	})
	r.untilAcked(r.publish(
		realRoute(t, "one", directly(202, prefix())), bad,
		noChain, realListener(t, "four", freePort(t)), realRoute(t, "four", directly(200, prefix())),
		noType, realCluster(t, "d", time.Second), realEndpoint(t, "d", 1),
	))
	wantAnswer(t, c, one, "202 ")
	wantAnswer(t, c, two, "201 ")
	var names []string
	for _, j := range r.store.Proxies()[0].Rejections {
		names = append(names, j.Resource.Name)
		t.Logf("%s: %s", j.Resource.Name, j.Detail)
	}
	if got := strings.Join(names, " "); got != "c three two" {
		t.Errorf("rejected are %q, want %q", got, "c three two")
	}
	r.untilAcked(r.publish(realRoute(t, "two", directly(203, prefix()))))
	wantAnswer(t, c, two, "203 ")
}

func TestEnvoyTakesAPortWhenItIsFree(t *testing.T) {
	r := newRig(t, Options{RetryBind: Backoff{First: 20 * time.Millisecond, Max: 100 * time.Millisecond}})
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := uint32(busy.Addr().(*net.TCPAddr).Port)
	runEnvoy(t, r)
	r.untilAcked(r.publish(realListener(t, "l", port), realRoute(t, "l", directly(200, prefix()))))
	p := r.store.Proxies()[0]
	if len(p.Rejections) != 1 || !p.Rejections[0].Bind {
		t.Fatalf("rejections are %+v, want one of the address", p.Rejections)
	}
	t.Log(p.Rejections[0].Detail)
	if err := busy.Close(); err != nil {
		t.Fatal(err)
	}
	r.until("n1", "the listener is taken", func(p Proxy) bool { return len(p.Rejections) == 0 })
	g := r.publish()
	r.untilAcked(g)
	wantAnswer(t, web(t), port, "200 ")
}

func TestEnvoyTakesAListenerBackWhileTheOldOneDrains(t *testing.T) {
	r := newRig(t, Options{})
	front := freePort(t)
	runEnvoy(t, r)
	r.untilAcked(r.publish(realListener(t, "l", front), realRoute(t, "l", directly(201, prefix()))))
	c := web(t)
	wantAnswer(t, c, front, "201 ")
	for i := range 3 {
		held, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", front)) // it keeps the listener draining
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		r.untilAcked(r.publish(named(model.TypeListener, "l"), named(model.TypeRoute, "l")))
		status := uint32(202 + i)
		r.untilAcked(r.publish(realListener(t, "l", front), realRoute(t, "l", directly(status, prefix()))))
		wantAnswer(t, c, front, fmt.Sprintf("%d ", status))
	}
	if n := r.server.Counts().NeedTimeouts; n != 0 {
		t.Errorf("%d need timeouts, want none", n)
	}
}

func TestEnvoyDoesNotWaitForEndpointsThatDoNotExist(t *testing.T) {
	r := newRig(t, Options{})
	front := freePort(t)
	runEnvoy(t, r)
	r.untilAcked(r.publish(
		realCluster(t, "c", time.Second), realListener(t, "l", front), realRoute(t, "l", toCluster("c")),
	))
	c := web(t)
	wantAnswer(t, c, front, "503 no healthy upstream")
	r.untilAcked(r.publish(realEndpoint(t, "c", backend(t, "b"))))
	wantAnswer(t, c, front, "200 b")
}

func TestEnvoyTakesScopesAndTheirRoutes(t *testing.T) {
	r := newRig(t, Options{})
	front := freePort(t)
	runEnvoy(t, r)
	change := []any{scopedListener(t, "l", front)}
	host := func(name string, status uint32) {
		change = append(change, realScope(t, name), realRoute(t, name, directly(status, prefix())))
	}
	host("a", 201)
	r.untilAcked(r.publish(change...))
	c := web(t)
	want := func(host string, want int) {
		t.Helper()
		if got := getScope(t, c, front, host); got != want {
			t.Errorf("host %s answers %d, want %d", host, got, want)
		}
	}
	want("a", 201)
	for i := range 20 {
		name := fmt.Sprint("h", i)
		change = nil
		host(name, 202)
		if i > 0 {
			gone := fmt.Sprint("h", i-1)
			change = append(change, named(model.TypeScope, gone), named(model.TypeRoute, gone))
		}
		r.untilAcked(r.publish(change...))
		want(name, 202)
		if i > 0 {
			want(fmt.Sprint("h", i-1), 404)
		}
	}
	r.untilAcked(r.publish(realRoute(t, "a", directly(203, prefix()))))
	want("a", 203)
	if n := r.server.Counts().NeedTimeouts; n != 0 {
		t.Errorf("%d need timeouts, want none", n)
	}
}

func TestEnvoyReconnectsAndGetsTheDifference(t *testing.T) {
	r := newRig(t, Options{})
	port, front, other := backend(t, "b"), freePort(t), freePort(t)
	runEnvoy(t, r)
	all := []any{
		realCluster(t, "c", time.Second), realEndpoint(t, "c", port), realCluster(t, "same", time.Second),
		realEndpoint(t, "same", port), realListener(t, "l", front), realRoute(t, "l", toCluster("c")),
	}
	r.untilAcked(r.publish(append(all, realListener(t, "gone", other), realRoute(t, "gone", toCluster("c")))...))
	r.grpc.Stop()

	r.store = NewStore() // the server is restarted; the world has moved on
	r.server = NewServer(r.store, r.options())
	r.serveAt(r.path)
	all[0] = realCluster(t, "c", 2*time.Second)
	r.untilAcked(r.publish(all...))
	c := web(t)
	wantAnswer(t, c, front, "200 b")
	if _, _, err := get(c, other); err == nil {
		t.Error("the listener that is gone still answers")
	}
	counts := r.server.Counts()
	if n := counts.Resources[model.TypeCluster]; n != 1 {
		t.Errorf("sent %d clusters, want the changed one", n)
	}
	if n := counts.Resources[model.TypeListener] + counts.Resources[model.TypeRoute]; n != 0 {
		t.Errorf("sent %d listeners and routes, want none", n)
	}
	if warming := r.envoyStat("cluster_manager.warming_clusters"); warming != "0" {
		t.Errorf("%s clusters are still warming", warming)
	}
}
