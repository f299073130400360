package routing_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/test/envoytest"
	"github.com/sluicegw/sluice/xds/sim"
)

// envoy is a running Envoy with a listener for each virtual host.
type envoy struct{ addresses map[string]string }

// upstream is a cluster of one address.
type upstream struct {
	name    string
	address net.Addr
}

// runEnvoy runs the real Envoy until the test ends. Each virtual host has a
// listener of its own and, in front of the router, the filters that a route may
// configure. Responses tell the route's name in x-route and the response flags in
// x-flags.
func runEnvoy(t testing.TB, hosts map[string]*routev3.VirtualHost, upstreams ...upstream) *envoy {
	t.Helper()
	js, err := protojson.Marshal(bootstrap(t, hosts, upstreams))
	if err != nil {
		t.Fatal(err)
	}
	return &envoy{addresses: envoytest.Start(t, js, len(hosts))}
}

func bootstrap(t testing.TB, hosts map[string]*routev3.VirtualHost, upstreams []upstream) *bootstrapv3.Bootstrap {
	t.Helper()
	out := &bootstrapv3.Bootstrap{
		Admin:           &bootstrapv3.Admin{Address: socket(&net.TCPAddr{})},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{},
	}
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		rc := table(hosts[name])
		rc.ResponseHeadersToAdd = []*corev3.HeaderValueOption{
			{Header: &corev3.HeaderValue{Key: "x-route", Value: "%ROUTE_NAME%"}},
			{Header: &corev3.HeaderValue{Key: "x-flags", Value: "%RESPONSE_FLAGS%"}}, // "DI": delayed on purpose
		}
		hcm := &hcmv3.HttpConnectionManager{
			StatPrefix:     "t",
			UpgradeConfigs: []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "CONNECT"}},
			RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: rc},
			HttpFilters: []*hcmv3.HttpFilter{
				filter(t, model.FilterCORS, &corsv3.Cors{}),
				filter(t, model.FilterFault, &faultv3.HTTPFault{}),
				filter(t, "envoy.filters.http.router", &routerv3.Router{}),
			},
		}
		out.StaticResources.Listeners = append(out.StaticResources.Listeners, &listenerv3.Listener{
			Name: name, Address: socket(&net.TCPAddr{}),
			FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
				Name:       "envoy.filters.network.http_connection_manager",
				ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(t, hcm)},
			}}}},
		})
	}
	for _, u := range upstreams {
		out.StaticResources.Clusters = append(out.StaticResources.Clusters, &clusterv3.Cluster{
			Name: u.name, ConnectTimeout: durationpb.New(5 * time.Second),
			LoadAssignment: &endpointv3.ClusterLoadAssignment{
				ClusterName: u.name,
				Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
					HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socket(u.address)}},
				}}}},
			},
		})
	}
	return out
}

func filter(t testing.TB, name string, config proto.Message) *hcmv3.HttpFilter {
	t.Helper()
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, config)}}
}

func socket(a net.Addr) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.(*net.TCPAddr).Port)},
	}}}
}

// call sends r over a connection of its own.
func (e *envoy) call(t testing.TB, listener string, r sim.Request) *http.Response {
	t.Helper()
	c := e.dial(t, listener)
	defer c.Close()
	return c.send(t, r)
}

// connection is one client connection.
type connection struct {
	net.Conn
	read *bufio.Reader
}

func (e *envoy) dial(t testing.TB, listener string) *connection {
	t.Helper()
	conn, err := net.Dial("tcp", e.addresses[listener])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &connection{conn, bufio.NewReader(conn)}
}

// send sends r byte for byte as given and reads the whole answer.
func (c *connection) send(t testing.TB, r sim.Request) *http.Response {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	target := r.Path
	if r.Method == "CONNECT" {
		target = r.Host + ":443"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, target, r.Host)
	for name, value := range r.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	if _, err := io.WriteString(c, b.String()+"\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.read, &http.Request{Method: r.Method})
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	defer resp.Body.Close()
	if r.Method == "CONNECT" {
		return resp // what follows is a tunnel
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return resp
}
