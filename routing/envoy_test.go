package routing_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/routing"
	"github.com/sluicegw/sluice/test/envoytest"
)

// TestEnvoyTakesEveryVirtualHost gives the virtual hosts of all golden cases,
// and of many drawn inputs, to the real Envoy: it refuses none.
func TestEnvoyTakesEveryVirtualHost(t *testing.T) {
	var hosts []*routev3.VirtualHost
	for i, file := range goldens(t) {
		in := readInput(t, part(t, readArchive(t, file), "in.yaml").Data)
		in.Host = fmt.Sprintf("golden%d.example.com", i)
		vh, _ := routing.VirtualHost(in)
		hosts = append(hosts, vh)
	}
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 2000 {
		seed := make([]byte, 600)
		for j := range seed {
			seed[j] = byte(r.Uint32())
		}
		vh, _ := routing.VirtualHost((&drawer{rest: seed}).input(fmt.Sprintf("drawn%d.example.com", i)))
		hosts = append(hosts, vh)
	}
	if refusal := validate(t, hosts); refusal != "" {
		t.Errorf("Envoy refuses: %s", refusal)
	}
}

// TestCommandsAreKnownToEnvoy keeps the list of commands in header values
// honest: what passes here passes there.
func TestCommandsAreKnownToEnvoy(t *testing.T) {
	set := &model.RouteSet{Meta: model.Meta{Ref: model.Ref{Kind: "VirtualService", Namespace: "shop", Name: "a"}}}
	values := append(commands(), "plain", "%%", "50%% of %REQ(x?y):3%", `%CEL(request.headers["x"].size())%`, "%START_TIME(%s)%")
	for i, v := range values {
		set.HTTP = append(set.HTTP, model.HTTPRule{
			Field:   fmt.Sprintf("spec.http[%d]", i),
			Matches: []model.Match{{URI: &model.StringMatch{Value: fmt.Sprintf("/%d", i)}}},
			Direct:  &model.DirectResponse{Status: 200},
			Headers: model.HeaderOperations{Response: model.HeaderChanges{Set: []model.HeaderValue{{Name: "x-a", Value: v}}}},
		})
	}
	vh, problems := routing.VirtualHost(routing.HostInput{Host: "a.example.com", Port: 80, Bindings: []routing.Binding{{Set: set}}})
	if len(problems) > 0 {
		t.Errorf("a command is not known: %v", problems)
	}
	if refusal := validate(t, []*routev3.VirtualHost{vh}); refusal != "" {
		t.Errorf("Envoy refuses: %s", refusal)
	}
	for _, bad := range []string{"%NOPE%", "100%", "%REQ%", "%ROUTE_NAME(x)%"} {
		vh.Routes[0].ResponseHeadersToAdd[0].Header.Value = bad
		if validate(t, []*routev3.VirtualHost{vh}) == "" {
			t.Errorf("Envoy takes %q, so there is no need to refuse it", bad)
		}
	}
}

// commands returns every command of format.go once, with arguments where it
// needs some.
func commands() []string {
	return strings.Fields(`
		%CEL(request.path)% %CLUSTER_METADATA(a:b)% %COMMON_DURATION(DS_RX_BEG:DS_RX_END:ms)% %DYNAMIC_METADATA(a:b)%
		%ENVIRONMENT(HOME)% %FILTER_STATE(a)% %QUERY_PARAM(a)% %REQ(a)% %RESP(a)% %TRAILER(a)% %UPSTREAM_METADATA(a:b)%
		%PATH% %PATH(WQ)% %PROTOCOL% %ROUTE_NAME% %START_TIME% %TRACE_ID% %STREAM_ID% %HOSTNAME% %RESPONSE_CODE%
		%RESPONSE_FLAGS% %BYTES_SENT% %DURATION% %REQUESTED_SERVER_NAME% %VIRTUAL_CLUSTER_NAME% %CONNECTION_ID%
		%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT%
		%DOWNSTREAM_PEER_CERT% %DOWNSTREAM_PEER_CERT_V_START(%s)% %DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_TLS_VERSION%
		%UPSTREAM_CLUSTER% %UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_PROTOCOL% %UPSTREAM_REQUEST_ATTEMPT_COUNT%`)
}

// validate returns what the real Envoy has against the hosts, "" if nothing.
func validate(t *testing.T, hosts []*routev3.VirtualHost) string {
	t.Helper()
	hcm := &hcmv3.HttpConnectionManager{
		StatPrefix: "t",
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name: "r", VirtualHosts: hosts, ValidateClusters: wrapperspb.Bool(false),
		}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       "envoy.filters.http.router",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &routerv3.Router{})},
		}},
	}
	js, err := protojson.Marshal(&bootstrapv3.Bootstrap{
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Listeners: []*listenerv3.Listener{{
			Name: "l",
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{},
			}}},
			FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
				Name:       "envoy.filters.network.http_connection_manager",
				ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(t, hcm)},
			}}}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(file, js, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(envoytest.Binary(t), "--mode", "validate", "-c", file, "-l", "error", "--disable-hot-restart").CombinedOutput()
	if err == nil {
		return ""
	}
	return fmt.Sprintf("%v: %.2000s", err, out)
}

func pack(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	out, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
