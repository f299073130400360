package sim_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluicegw/sluice/test/envoytest"
	"github.com/sluicegw/sluice/xds/sim"
)

// clusters are those that exist in the real Envoy; "missing" does not.
func clusters() []string { return []string{"c1", "c2", "c3"} }

// seen is what the backend behind every cluster says of a request.
type seen struct{ Path, Host string }

// envoy is a running Envoy with one listener per RouteConfiguration.
type envoy struct{ addresses map[string]string }

// startEnvoy runs the real Envoy until the test ends.
func startEnvoy(t *testing.T, tables []*routev3.RouteConfiguration) *envoy {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(seen{r.RequestURI, r.Host})
	}))
	t.Cleanup(backend.Close)

	js, err := protojson.Marshal(bootstrap(t, backend.Listener.Addr(), tables))
	if err != nil {
		t.Fatal(err)
	}
	return &envoy{addresses: envoytest.Start(t, js, len(tables))}
}

func anyOf(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	out, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func socket(address string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// bootstrap is a static configuration: a listener for each table, and all
// clusters leading to one backend.
func bootstrap(t *testing.T, backend net.Addr, tables []*routev3.RouteConfiguration) *bootstrapv3.Bootstrap {
	t.Helper()
	b := &bootstrapv3.Bootstrap{
		Admin:           &bootstrapv3.Admin{Address: socket("127.0.0.1", 0)},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{},
	}
	for _, rc := range tables {
		hcm := &hcmv3.HttpConnectionManager{
			StatPrefix:     "t",
			RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: rc},
			HttpFilters: []*hcmv3.HttpFilter{{
				Name:       "envoy.filters.http.router",
				ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: anyOf(t, &routerv3.Router{})},
			}},
		}
		b.StaticResources.Listeners = append(b.StaticResources.Listeners, &listenerv3.Listener{
			Name:    rc.GetName(),
			Address: socket("127.0.0.1", 0),
			FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
				Name:       "envoy.filters.network.http_connection_manager",
				ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: anyOf(t, hcm)},
			}}}},
		})
	}
	port := uint32(backend.(*net.TCPAddr).Port)
	for _, name := range clusters() {
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, &clusterv3.Cluster{
			Name:           name,
			ConnectTimeout: durationpb.New(5 * time.Second),
			LoadAssignment: &endpointv3.ClusterLoadAssignment{
				ClusterName: name,
				Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
					HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
						Endpoint: &endpointv3.Endpoint{Address: socket("127.0.0.1", port)},
					},
				}}}},
			},
		})
	}
	return b
}

// reply is what a client sees.
type reply struct {
	status               uint32
	location, body       string
	route, host, cluster string
	reason               string
	upstream             seen
}

// call sends r over a connection of its own, byte for byte as given.
func (e *envoy) call(t *testing.T, table string, r sim.Request) reply {
	t.Helper()
	conn, err := net.Dial("tcp", e.addresses[table])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", r.Method, r.Path, r.Host)
	if r.Scheme == "https" {
		b.WriteString("X-Forwarded-Proto: https\r\n")
	}
	for name, value := range r.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	if _, err := io.WriteString(conn, b.String()+"\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: r.Method})
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := reply{
		status: uint32(resp.StatusCode), location: resp.Header.Get("location"), body: string(body),
		route: resp.Header.Get("x-route"), host: resp.Header.Get("x-host"), cluster: resp.Header.Get("x-cluster"),
		reason: resp.Header.Get("x-reason"),
	}
	if out.status == 200 && out.cluster != "" {
		if err := json.Unmarshal(body, &out.upstream); err != nil {
			t.Fatalf("%+v: %v in %q", r, err, body)
		}
	}
	return out
}
