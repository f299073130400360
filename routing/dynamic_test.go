package routing

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/xds/sim"
)

// A client that chooses where it is connected to gets no further than the names
// and the port that the service declares.
func TestDynamicDestinationIsBounded(t *testing.T) {
	d := model.Destination{Host: "*.open.test", Port: 80}
	set := &model.RouteSet{HTTP: []model.HTTPRule{{Field: "spec.http[0]", Route: []model.WeightedDestination{{Destination: d, Weight: 1}}}}}
	vh, problems := VirtualHost(HostInput{
		Table: "http.80", Port: 80, Host: "*", Bindings: []Binding{{Set: set}},
		Targets: map[model.Destination]model.Target{d: {Cluster: "dynamic", Dynamic: &model.DynamicTarget{Host: d.Host, Port: 80}}},
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	rc := &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{vh}, IgnorePortInHostMatching: true}
	for authority, want := range map[string]bool{
		"a.open.test": true, "A.Open.test:80": true, "a.open.test:22": false, "closed.test": false, "open.test": false, "169.254.169.254": false,
	} {
		got := len(sim.Routes(rc, sim.Request{Scheme: "http", Host: authority, Method: "GET", Path: "/"}).Clusters) > 0
		if got != want {
			t.Errorf("%s is passed on: %v, want %v", authority, got, want)
		}
	}
}
