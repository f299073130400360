package xds

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	clusterpb "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointpb "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerpb "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routepb "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/test/envoytest"
)

const bootstrap = `
node: {id: n1, cluster: test}
admin: {address: {pipe: {path: %q}}}
dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
  cds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
  lds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
static_resources:
  clusters:
  - name: xds
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: xds
      endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %q}}}}]}]
`

// runEnvoy starts a real Envoy that gets everything from the rig.
func runEnvoy(t *testing.T, r *rig) {
	t.Helper()
	dir := filepath.Dir(r.path)
	config := filepath.Join(dir, "bootstrap.yaml")
	text := fmt.Sprintf(bootstrap, filepath.Join(dir, "admin"), r.path)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(envoytest.Binary(t), "-c", config, "--disable-hot-restart", "--concurrency", "1", "-l", "warn")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // the signal comes when the thread ends
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("Envoy said:\n%s", log.String())
		}
	})
}

// freePort returns a port of 127.0.0.1 that was free a moment ago.
func freePort(t *testing.T) uint32 {
	t.Helper()
	return uint32(envoytest.FreePort(t))
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	out, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func packed(t *testing.T, n model.ResourceName, m proto.Message, needs ...model.ResourceName) *model.Resource {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &model.Resource{ResourceName: n, Bytes: b, Hash: xxhash.Sum64(b), Needs: needs}
}

func ads() *core.ConfigSource {
	return &core.ConfigSource{
		ResourceApiVersion:    core.ApiVersion_V3,
		ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
	}
}

func address(port uint32) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &core.SocketAddress_PortValue{PortValue: port},
	}}}
}

func realCluster(t *testing.T, name string, timeout time.Duration) *model.Resource {
	return packed(t, named(model.TypeCluster, name), &clusterpb.Cluster{
		Name: name, ConnectTimeout: durationpb.New(timeout),
		ClusterDiscoveryType: &clusterpb.Cluster_Type{Type: clusterpb.Cluster_EDS},
		EdsClusterConfig:     &clusterpb.Cluster_EdsClusterConfig{EdsConfig: ads()},
	}, named(model.TypeEndpoint, name))
}

func realEndpoint(t *testing.T, name string, port uint32) *model.Resource {
	return packed(t, named(model.TypeEndpoint, name), &endpointpb.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints: []*endpointpb.LocalityLbEndpoints{{LbEndpoints: []*endpointpb.LbEndpoint{{
			HostIdentifier: &endpointpb.LbEndpoint_Endpoint{Endpoint: &endpointpb.Endpoint{Address: address(port)}},
		}}}},
	})
}

func realListener(t *testing.T, name string, port uint32) *model.Resource {
	l := httpListener(t, address(port), &hcm.HttpConnectionManager{
		StatPrefix:     name,
		RouteSpecifier: &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{ConfigSource: ads(), RouteConfigName: name}},
	})
	l.Needs = []model.ResourceName{named(model.TypeRoute, name)}
	return l
}

// scopedListener reads the scope from the header "scope".
func scopedListener(t *testing.T, name string, port uint32) *model.Resource {
	extractor := &hcm.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{
		Name: "scope", ExtractType: &hcm.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{},
	}
	return httpListener(t, address(port), &hcm.HttpConnectionManager{
		StatPrefix: name,
		RouteSpecifier: &hcm.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcm.ScopedRoutes{
			Name: "s", RdsConfigSource: ads(),
			ScopeKeyBuilder: &hcm.ScopedRoutes_ScopeKeyBuilder{
				Fragments: []*hcm.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{{
					Type: &hcm.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{HeaderValueExtractor: extractor},
				}},
			},
			ConfigSpecifier: &hcm.ScopedRoutes_ScopedRds{ScopedRds: &hcm.ScopedRds{ScopedRdsConfigSource: ads()}},
		}},
	})
}

func realScope(t *testing.T, name string) *model.Resource {
	return packed(t, named(model.TypeScope, name), &routepb.ScopedRouteConfiguration{
		Name: name, RouteConfigurationName: name,
		Key: &routepb.ScopedRouteConfiguration_Key{Fragments: []*routepb.ScopedRouteConfiguration_Key_Fragment{{
			Type: &routepb.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: name},
		}}},
	}, named(model.TypeRoute, name))
}

// httpListener returns a listener named like the manager's stats.
func httpListener(t *testing.T, at *core.Address, manager *hcm.HttpConnectionManager) *model.Resource {
	t.Helper()
	name := manager.StatPrefix
	manager.HttpFilters = []*hcm.HttpFilter{{
		Name: "router", ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: pack(t, &router.Router{})},
	}}
	return packed(t, named(model.TypeListener, name), &listenerpb.Listener{
		Name: name, Address: at,
		FilterChains: []*listenerpb.FilterChain{{Filters: []*listenerpb.Filter{{
			Name: "hcm", ConfigType: &listenerpb.Filter_TypedConfig{TypedConfig: pack(t, manager)},
		}}}},
	})
}

func realRoute(t *testing.T, name string, r *routepb.Route) *model.Resource {
	return packed(t, named(model.TypeRoute, name), &routepb.RouteConfiguration{
		Name:         name,
		VirtualHosts: []*routepb.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: []*routepb.Route{r}}},
	})
}

func toCluster(name string) *routepb.Route {
	return &routepb.Route{
		Match: &routepb.RouteMatch{PathSpecifier: &routepb.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routepb.Route_Route{Route: &routepb.RouteAction{
			ClusterSpecifier: &routepb.RouteAction_Cluster{Cluster: name},
		}},
	}
}

func directly(status uint32, path *routepb.RouteMatch) *routepb.Route {
	return &routepb.Route{
		Match:  path,
		Action: &routepb.Route_DirectResponse{DirectResponse: &routepb.DirectResponseAction{Status: status}},
	}
}

func prefix() *routepb.RouteMatch {
	return &routepb.RouteMatch{PathSpecifier: &routepb.RouteMatch_Prefix{Prefix: "/"}}
}

func badRegex() *routepb.RouteMatch {
	return &routepb.RouteMatch{PathSpecifier: &routepb.RouteMatch_SafeRegex{
		SafeRegex: &matcher.RegexMatcher{Regex: "*("},
	}}
}

// backend answers with its name.
func backend(t *testing.T, name string) uint32 {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, name)
	}))
	t.Cleanup(s.Close)
	return uint32(s.Listener.Addr().(*net.TCPAddr).Port)
}

// web is a client of one port; it keeps connections.
func web(t *testing.T) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

func get(c *http.Client, port uint32) (status int, body string, err error) {
	resp, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func getScope(t *testing.T, c *http.Client, port uint32, scope string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("scope", scope)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func wantAnswer(t *testing.T, c *http.Client, port uint32, want string) {
	t.Helper()
	status, body, err := get(c, port)
	if got := fmt.Sprintf("%d %s", status, body); err != nil || got != want {
		t.Errorf("port %d answers %q, %v; want %q", port, got, err, want)
	}
}

// envoyStat reads one gauge from Envoy's admin socket.
func (r *rig) envoyStat(name string) string {
	r.t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(filepath.Dir(r.path), "admin"))
	}}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("http://envoy/stats?filter=" + name)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	_, value, _ := strings.Cut(strings.TrimSpace(string(b)), ": ")
	return value
}
