package upstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/test/envoytest"
	"github.com/sluicegw/sluice/upstream"
)

// world is one destination behind a real Envoy.
type world struct {
	in        upstream.ClusterInput
	endpoints []model.Endpoint
	hash      []*routev3.RouteAction_HashPolicy
	filters   []*managerv3.HttpFilter // before the router
	secrets   []*tlsv3.Secret
}

// running is an Envoy that serves a world.
type running struct {
	t        *testing.T
	world    world
	url      string // of the listener
	address  string
	admin    string
	endsFile string
}

// httpWorld is a destination of HTTP endpoints.
func httpWorld(p model.TrafficPolicy, endpoints ...model.Endpoint) world {
	return world{
		in: upstream.ClusterInput{
			Destination: model.Destination{Host: "a.example.com", Port: 80},
			Port:        model.ServicePort{Name: "port", Number: 80, Protocol: model.ProtocolHTTP},
			Resolution:  model.ResolutionStatic,
			Policy:      p,
			Settings:    model.DefaultSettings(),
		},
		endpoints: endpoints,
	}
}

func wrap(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	out, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// assignment is what upstream makes of the world's endpoints.
func (w world) assignment() *endpointv3.ClusterLoadAssignment {
	return upstream.Endpoints(upstream.EndpointsInput{
		Destination: w.in.Destination, Port: w.in.Port, Endpoints: w.endpoints,
		Policy: w.in.Policy, Proxy: w.in.Proxy,
	})
}

// cluster is what upstream makes of the destination, with endpoints read from a
// file and secrets from the bootstrap in place of the aggregated stream.
func (w world) cluster(t *testing.T, endpointsFile string) *clusterv3.Cluster {
	t.Helper()
	c := upstream.Cluster(w.in)
	if c.GetEdsClusterConfig() != nil {
		c.EdsClusterConfig.EdsConfig = &corev3.ConfigSource{
			ResourceApiVersion: corev3.ApiVersion_V3,
			ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{
				PathConfigSource: &corev3.PathConfigSource{Path: endpointsFile},
			},
		}
	}
	if len(w.secrets) > 0 {
		tls := new(tlsv3.UpstreamTlsContext)
		if err := c.GetTransportSocket().GetTypedConfig().UnmarshalTo(tls); err != nil {
			t.Fatal(err)
		}
		for _, s := range tls.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs() {
			s.SdsConfig = nil
		}
		tls.GetCommonTlsContext().GetCombinedValidationContext().GetValidationContextSdsSecretConfig().SdsConfig = nil
		c.TransportSocket.ConfigType = &corev3.TransportSocket_TypedConfig{TypedConfig: wrap(t, tls)}
	}
	return c
}

func (w world) listener(t *testing.T) *listenerv3.Listener {
	t.Helper()
	name := model.ClusterName(w.in.Destination)
	var filter proto.Message = &tcpv3.TcpProxy{StatPrefix: "tcp", ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: name}}
	if !w.in.Port.Protocol.IsStream() {
		filters := append([]*managerv3.HttpFilter{}, w.filters...)
		filters = append(filters, &managerv3.HttpFilter{Name: "router", ConfigType: &managerv3.HttpFilter_TypedConfig{TypedConfig: wrap(t, &routerv3.Router{})}})
		filter = &managerv3.HttpConnectionManager{
			StatPrefix: "http", HttpFilters: filters,
			RouteSpecifier: &managerv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
				VirtualHosts: []*routev3.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: []*routev3.Route{{
					Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
					Action: &routev3.Route_Route{Route: &routev3.RouteAction{
						ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name}, HashPolicy: w.hash,
					}},
				}}}},
			}},
		}
	}
	return &listenerv3.Listener{
		Name: "l",
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{},
		}}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "f", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: wrap(t, filter)},
		}}}},
	}
}

// start runs an Envoy for w until the test ends, and returns once it serves.
func start(t *testing.T, w world) *running {
	t.Helper()
	dir := t.TempDir()
	r := &running{t: t, world: w, endsFile: filepath.Join(dir, "endpoints.json")}
	r.write(w.assignment())
	config, err := protojson.Marshal(&bootstrapv3.Bootstrap{
		Node: &corev3.Node{Id: "test", Cluster: "test"},
		Admin: &bootstrapv3.Admin{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{},
		}}}},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Clusters:  []*clusterv3.Cluster{w.cluster(t, r.endsFile)},
			Listeners: []*listenerv3.Listener{w.listener(t)},
			Secrets:   w.secrets,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	file, log, adminFile := filepath.Join(dir, "envoy.json"), filepath.Join(dir, "log"), filepath.Join(dir, "admin")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	envoy := exec.Command(envoytest.Binary(t), "-c", file, "--admin-address-path", adminFile, "--log-path", log,
		"--log-level", "info", "--concurrency", "1", "--disable-hot-restart")
	envoy.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := envoy.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- envoy.Wait() }()
	t.Cleanup(func() {
		_ = envoy.Process.Kill()
		<-exited
		if t.Failed() {
			text, _ := os.ReadFile(log)
			t.Logf("envoy's log:\n%s", text)
		}
	})
	r.await("envoy serves", func() error {
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("envoy ended: %v", err)
		default:
		}
		return r.find(adminFile)
	})
	return r
}

// find learns the addresses of Envoy, once it is ready.
func (r *running) find(adminFile string) error {
	admin, err := os.ReadFile(adminFile)
	if err != nil {
		return err
	}
	r.admin = "http://" + strings.TrimSpace(string(admin))
	if ready, err := fetch(r.admin + "/ready"); err != nil || !strings.HasPrefix(ready, "LIVE") {
		return fmt.Errorf("not ready: %s %w", ready, err)
	}
	text, err := fetch(r.admin + "/listeners")
	if err != nil {
		return err
	}
	_, address, ok := strings.Cut(strings.TrimSpace(text), "::")
	if !ok {
		return errors.New("no listener")
	}
	r.address, r.url = address, "http://"+address
	return nil
}

// await polls until condition returns nil, and fails the test after a minute.
func (r *running) await(what string, condition func() error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("not after a minute: %s: %v", what, err)
		case <-tick.C:
		}
	}
}

// write replaces the endpoints that Envoy reads.
func (r *running) write(a *endpointv3.ClusterLoadAssignment) {
	r.t.Helper()
	text, err := protojson.Marshal(&discoveryv3.DiscoveryResponse{
		TypeUrl: string(model.TypeEndpoint), Resources: []*anypb.Any{wrap(r.t, a)},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.endsFile+".new", text, 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(r.endsFile+".new", r.endsFile); err != nil {
		r.t.Fatal(err)
	}
}

// stat returns a number of the cluster.
func (r *running) stat(name string) (int, error) {
	key := "cluster." + model.StatName(model.ClusterName(r.world.in.Destination)) + "." + name + ": "
	text, err := fetch(r.admin + "/stats")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, errors.New("no stat " + key)
}

// awaitStat waits until a number of the cluster is want.
func (r *running) awaitStat(name string, want int) {
	r.t.Helper()
	r.await(name+" is "+strconv.Itoa(want), func() error {
		got, err := r.stat(name)
		if err == nil && got != want {
			err = fmt.Errorf("it is %d", got)
		}
		return err
	})
}

// answer is what came back for a request.
type answer struct {
	Status int
	seen
}

// seen is what a backend says of itself and of the request.
type seen struct {
	Name, Proto, Host, Peer string
}

// ask sends a request with headers given as pairs, "Host" among them.
func (r *running) ask(path string, headers ...string) answer {
	r.t.Helper()
	a, err := r.try(path, headers...)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// try is ask for goroutines: it returns what ask would fail with.
func (r *running) try(path string, headers ...string) (answer, error) {
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.url+path, nil)
	if err != nil {
		return answer{}, err
	}
	request.Host = "a.example.com"
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			request.Host = headers[i+1]
		}
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	out := answer{Status: response.StatusCode}
	if response.StatusCode == http.StatusOK {
		err = json.Unmarshal(body, &out.seen)
	}
	return out, err
}

func fetch(url string) (string, error) {
	response, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// endpoint is the model's word for an address on this machine.
func endpoint(a net.Addr, l model.Locality) model.Endpoint {
	tcp := a.(*net.TCPAddr)
	return model.Endpoint{Address: tcp.IP.String(), Ports: map[string]uint32{"port": uint32(tcp.Port)}, Locality: l}
}
