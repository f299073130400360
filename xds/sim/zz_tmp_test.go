package sim_test

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/sluicegw/sluice/routing"
	"github.com/sluicegw/sluice/xds/sim"
)

func TestTmp(t *testing.T) {
	rc := func(h string, v *routev3.VirtualHost) *routev3.RouteConfiguration {
		v.Domains = []string{"*"}
		return &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{v}}
	}
	wild := parse(t, "virtual_hosts: [{name: v, domains: ['*'], routes: [{name: w, match: {prefix: /}, route: {cluster: wild}}]}]")
	scopes := map[string]*routev3.RouteConfiguration{
		"t/a.foo.com": rc("", routing.Refusal(routing.HostInput{Host: "a.foo.com", Port: 80})), "t/*.foo.com": wild}
	for _, h := range []string{"a.foo.com", "A.foo.com", "a.foo.com:80"} {
		t.Logf("%s %+v", h, sim.Scoped("t", scopes, sim.Request{Host: h}))
	}
}
