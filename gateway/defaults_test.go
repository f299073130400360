package gateway_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	udpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/test/envoytest"
)

// TestDefaultsPage reads the second table of docs/defaults.md and compares its
// rows on listeners and route tables with what this package makes.
func TestDefaultsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/defaults.md")
	if err != nil {
		t.Fatal(err)
	}
	listener := gateway.Listener(gateway.ListenerInput{
		Bind: model.Bind{Address: model.AnyAddress, Port: 80}, Table: "http.80", Settings: model.DefaultSettings(),
	})
	filters := listener.GetFilterChains()[0].GetFilters()
	manager := new(hcmv3.HttpConnectionManager)
	if err := filters[len(filters)-1].GetTypedConfig().UnmarshalTo(manager); err != nil {
		t.Fatal(err)
	}
	router, fault := new(routerv3.Router), new(faultv3.HTTPFault)
	if err := manager.GetHttpFilters()[len(manager.GetHttpFilters())-1].GetTypedConfig().UnmarshalTo(router); err != nil {
		t.Fatal(err)
	}
	for _, f := range manager.GetHttpFilters() {
		if f.GetName() == model.FilterFault {
			if err := f.GetTypedConfig().UnmarshalTo(fault); err != nil {
				t.Fatal(err)
			}
		}
	}
	stream, udp := new(tcpproxyv3.TcpProxy), new(udpproxyv3.UdpProxyConfig)
	chain := streamOf(t, model.ProtocolTCP).GetFilterChains()[0].GetFilters()
	if err := chain[len(chain)-1].GetTypedConfig().UnmarshalTo(stream); err != nil {
		t.Fatal(err)
	}
	if err := streamOf(t, model.ProtocolUDP).GetListenerFilters()[0].GetTypedConfig().UnmarshalTo(udp); err != nil {
		t.Fatal(err)
	}
	table := new(routev3.RouteConfiguration)
	if err := proto.Unmarshal(gateway.PlainTable("http.80", nil, 0), table); err != nil {
		t.Fatal(err)
	}
	made := map[string]proto.Message{"listener": listener, "http": manager, "route": table, "router": router, "fault": fault, "stream": stream, "udp": udp}
	row := regexp.MustCompile("(?m)^\\| `(listener|http|route|router|fault|stream|udp)[.]([a-z0-9_.]+)` \\| (`[^`]+`|not set[^|]*) \\|")
	rows := row.FindAllStringSubmatch(string(page), -1)
	if len(rows) < 25 {
		t.Fatalf("the page has only %d rows", len(rows))
	}
	for _, cells := range rows {
		got, ok := envoytest.LookUp(t, made[cells[1]], cells[2])
		want := strings.Trim(cells[3], "`")
		if strings.HasPrefix(want, "not set") {
			if ok {
				t.Errorf("the page says that %s.%s is not set, the code %s", cells[1], cells[2], got)
			}
			continue
		}
		if !envoytest.SameJSON(t, got, want) {
			t.Errorf("the page says that %s.%s is %s, the code %q", cells[1], cells[2], want, got)
		}
	}
}

// streamOf returns the listener of a server with one rule and all defaults.
func streamOf(t *testing.T, protocol model.Protocol) *listenerv3.Listener {
	t.Helper()
	d := model.Destination{Host: "a", Port: 1}
	set := &model.RouteSet{TCP: []model.TCPRule{{Field: "spec.tcp[0]", Route: []model.WeightedDestination{{Destination: d}}}}}
	bind := model.Bind{Address: model.AnyAddress, Port: 1}
	l, problems := gateway.StreamListener(gateway.StreamInput{
		Bind: bind, Settings: model.DefaultSettings(),
		Servers: []gateway.StreamServer{{
			Server: &model.Server{Protocol: protocol, Bind: bind}, Bindings: []gateway.StreamBinding{{Set: set}},
		}},
		Targets: map[model.Destination]model.Target{d: {Cluster: "c"}},
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return l
}
