package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/test/envoytest"
)

// world is a backend, an xDS server that sends one listener in front of it,
// and a data directory.
type world struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	dir, socket string
	addr        string // of the listener
	resources   map[string]proto.Message
}

func newWorld(t *testing.T) *world {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(backend.Close)
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := probe.Addr().(*net.TCPAddr).Port
	_ = probe.Close()
	dir := tempDir(t)
	w := &world{dir: filepath.Join(dir, "d"), socket: filepath.Join(dir, "x"), addr: fmt.Sprintf("127.0.0.1:%d", port)}
	w.resources = map[string]proto.Message{
		"type.googleapis.com/envoy.config.cluster.v3.Cluster":   backendCluster(backend.Listener.Addr().(*net.TCPAddr).Port),
		"type.googleapis.com/envoy.config.listener.v3.Listener": backendListener(port),
	}
	l, err := net.Listen("unix", w.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, w)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return w
}

// DeltaAggregatedResources answers the first request of each type and takes
// every later one for an acknowledgement.
func (w *world) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		if req.GetResponseNonce() != "" {
			continue
		}
		res := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: req.GetTypeUrl(), Nonce: "1"}
		if m, ok := w.resources[req.GetTypeUrl()]; ok {
			res.Resources = []*discoveryv3.Resource{{Name: "it", Version: "1", Resource: pack(m)}}
		}
		if err := stream.Send(res); err != nil {
			return err
		}
	}
}

func loopback(port int) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

func backendCluster(port int) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 "it",
		ConnectTimeout:       durationpb.New(5 * time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: "it",
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: loopback(port)}},
			}}}},
		},
	}
}

func backendListener(port int) *listenerv3.Listener {
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: "test",
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			VirtualHosts: []*routev3.VirtualHost{{
				Name: "all", Domains: []string{"*"},
				Routes: []*routev3.Route{{
					Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
					Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "it"}}},
				}},
			}},
		}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       "envoy.filters.http.router",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})},
		}},
	}
	return &listenerv3.Listener{
		Name: "it", Address: loopback(port),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(manager)},
		}}}},
	}
}

// options are those of a supervisor in this world.
func (w *world) options(t *testing.T) Options {
	t.Helper()
	b, err := Probe(t.Context(), envoytest.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Binary: b, DataDir: w.dir, XDSSocket: w.socket, NodeID: "n", Cluster: "c", Concurrency: 2,
		DrainTime: time.Second, Settings: model.DefaultSettings(), Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
}

// testWriter shows the log of a test that fails.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// supervise runs a supervisor until the test or the returned stop ends it.
// stop fails the test when Run returned an error.
func supervise(t *testing.T, o Options) (s *Supervisor, stop func()) {
	t.Helper()
	s = New(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

func awaitPhase(t *testing.T, s *Supervisor, phase Phase) State {
	t.Helper()
	eventually(t, "phase "+string(phase), func() bool { return s.State().Phase == phase })
	return s.State()
}

// load sends numbered POST requests over kept connections, no retries, at most
// 200 a second, and remembers what was not answered as it should.
type load struct {
	mu     sync.Mutex
	sent   int
	lost   []string
	told   int // clients that were told to close
	halted bool
	stop   chan struct{}
	closed sync.WaitGroup
}

// startLoad starts clients of 25 requests a second each. With untilTold each
// ends when an answer says "connection: close".
func startLoad(t *testing.T, addr string, clients int, untilTold bool) *load {
	l := &load{stop: make(chan struct{})}
	t.Cleanup(l.halt)
	for range clients {
		l.closed.Go(func() { l.client(addr, untilTold) })
	}
	return l
}

func (l *load) client(addr string, untilTold bool) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		told, err := post(transport, addr, fmt.Sprint(i))
		l.mu.Lock()
		l.sent++
		if err != nil {
			l.lost = append(l.lost, err.Error())
		}
		if told {
			l.told++
		}
		l.mu.Unlock()
		if told && untilTold {
			return
		}
	}
}

// post wants its body back. told is true when the answer closes the connection.
func post(transport *http.Transport, addr, body string) (told bool, err error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/", bytes.NewBufferString(body))
	if err != nil {
		return false, err
	}
	req.GetBody = nil
	res, err := transport.RoundTrip(req)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || string(got) != body) {
		err = fmt.Errorf("answer %d %q to %q", res.StatusCode, got, body)
	}
	return res.Close, err
}

// wait returns when at least n more requests were answered.
func (l *load) wait(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.sent
	}
	from := count()
	eventually(t, "requests are sent", func() bool { return count() >= from+n })
}

// halt stops the clients; it may be called again.
func (l *load) halt() {
	l.mu.Lock()
	if !l.halted {
		l.halted = true
		close(l.stop)
	}
	l.mu.Unlock()
	l.closed.Wait()
}

// end stops the clients and fails the test if a request was lost.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.halt()
	if len(l.lost) > 0 || l.sent == 0 {
		t.Errorf("%d of %d requests lost: %v", len(l.lost), l.sent, l.lost[:min(3, len(l.lost))])
	}
}
