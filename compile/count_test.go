package compile

import (
	"fmt"
	"maps"
	"testing"

	"github.com/sluicegw/sluice/model"
)

// city is a world of n hosts behind one gateway and services destinations.
func city(n, services int) *Compiler {
	c := New(Options{ScopedAbove: 256})
	gw := &model.Gateway{Servers: []model.Server{{
		Field: "spec.servers[0]", Protocol: model.ProtocolHTTP, Bind: model.Bind{Address: model.AnyAddress, Port: 80},
		Hosts: []model.ServerHost{{DNS: "*"}},
	}}}
	gw.Ref = model.Ref{Group: "networking.istio.io", Kind: "Gateway", Namespace: "default", Name: "edge"}
	c.rules.set(gw.Ref, gw)
	for i := range services {
		s := serviceOf(i, 1)
		c.rules.set(s.Ref, s)
	}
	for i := range n {
		v := routesOf(i, i%services, "v1")
		c.rules.set(v.Ref, v)
	}
	c.settle(nil)
	return c
}

func serviceOf(i, endpoints int) *model.Service {
	s := &model.Service{
		Hosts: []string{fmt.Sprintf("s%d.svc", i)}, Resolution: model.ResolutionStatic,
		Ports: []model.ServicePort{{Name: "http", Number: 80, Protocol: model.ProtocolHTTP}},
	}
	s.Ref = model.Ref{Group: "networking.istio.io", Kind: "ServiceEntry", Namespace: "default", Name: fmt.Sprintf("s%d", i)}
	for e := range endpoints {
		s.Endpoints = append(s.Endpoints, model.Endpoint{Address: fmt.Sprintf("10.0.%d.%d", i, e+1)})
	}
	return s
}

func routesOf(i, service int, header string) *model.RouteSet {
	v := &model.RouteSet{
		Hosts: []string{fmt.Sprintf("h%d.test", i)}, Gateways: []model.GatewayRef{{Namespace: "default", Name: "edge"}},
		HTTP: []model.HTTPRule{{
			Field: "spec.http[0]",
			Route: []model.WeightedDestination{{Field: "spec.http[0].route[0]", Weight: 1, Destination: model.Destination{Host: fmt.Sprintf("s%d.svc", service)}}},
		}},
	}
	v.HTTP[0].Headers.Response.Set = []model.HeaderValue{{Name: "x-version", Value: header}}
	v.Ref = model.Ref{Group: "networking.istio.io", Kind: "VirtualService", Namespace: "default", Name: fmt.Sprintf("h%d", i)}
	return v
}

// put replaces one object and returns what it changed.
func put(c *Compiler, v model.Value) Result {
	c.rules.set(v.Metadata().Ref, v)
	return c.settle(nil)
}

// What one edit costs, by kind of edit: rules that run and resources that
// change, the same at any number of hosts.
func TestCostOfOneEdit(t *testing.T) {
	edits := []struct {
		name    string
		value   func() model.Value
		ran     map[string]int
		upserts int
	}{
		{
			name:    "a route",
			value:   func() model.Value { return routesOf(7, 7, "v2") },
			ran:     map[string]int{"object": 1, "attach": 1, "expanded": 1, "virtual host": 1, "scoped host": 1},
			upserts: 1,
		},
		{
			name:    "an endpoint",
			value:   func() model.Value { return serviceOf(3, 2) },
			ran:     map[string]int{"object": 1, "service": 1, "policies": 1, "target": 1, "cluster": 1, "endpoints": 1},
			upserts: 1,
		},
		{
			name:  "a new host",
			value: func() model.Value { return routesOf(1_000_000, 5, "v1") },
			ran: map[string]int{
				"object": 1, "attach": 1, "bindings": 1, "host buckets": 1, "bucket": 1, "hosts size": 1, "layout": 1,
				"expanded": 1, "virtual host": 1, "scoped host": 1, "refusal": 1,
			},
			upserts: 2,
		},
	}
	for _, n := range []int{1_000, 10_000} {
		c := city(n, 100)
		for _, e := range edits {
			res := put(c, e.value())
			if !maps.Equal(res.Ran, e.ran) {
				t.Errorf("%s among %d hosts: ran %v, want %v", e.name, n, res.Ran, e.ran)
			}
			if len(res.Change.Upserts) != e.upserts || len(res.Change.Removals) != 0 {
				t.Errorf("%s among %d hosts: %d upserts and %d removals, want %d and 0", e.name, n, len(res.Change.Upserts), len(res.Change.Removals), e.upserts)
			}
		}
	}
}

func TestAllocationsOfOneEditAreFlat(t *testing.T) {
	allocs := func(n int) float64 {
		c := city(n, 100)
		i := 0
		return testing.AllocsPerRun(50, func() {
			i++
			put(c, routesOf(7, 7, fmt.Sprint("v", i)))
		})
	}
	small, large := allocs(1_000), allocs(10_000)
	if large > 1.1*small+5 {
		t.Errorf("one edit allocates %.0f times among 1,000 hosts and %.0f among 10,000", small, large)
	}
}

func TestOnlyWhatRoutesUseIsSent(t *testing.T) {
	c := city(3, 100) // the routes name 3 of the 100 services
	count := map[string]int{}
	for name := range c.resources {
		count[name.Type.Short()]++
	}
	want := map[string]int{"listener": 1, "extension": 2, "scope": 1, "route": 1, "cluster": 3, "endpoint": 3}
	if !maps.Equal(count, want) {
		t.Errorf("resources %v, want %v", count, want)
	}
}

func TestTableStaysScoped(t *testing.T) {
	c := city(257, 10)
	table := model.Table{Bind: model.Bind{Address: model.AnyAddress, Port: 80}}
	if !c.rules.layout.Value(table) {
		t.Fatal("a table of 257 hosts is not scoped")
	}
	ref := routesOf(0, 0, "").Ref
	c.rules.set(ref, nil)
	c.settle([]model.Ref{ref})
	if !c.rules.layout.Value(table) || c.resources[model.ResourceName{Type: model.TypeRoute, Name: "http.80"}] != nil {
		t.Error("the table left the scoped layout when it shrank to 256 hosts")
	}
}

func BenchmarkEditOneRoute(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := city(n, 100)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				put(c, routesOf(7, 7, fmt.Sprint("v", i)))
			}
		})
	}
}
