package compile

import (
	"slices"
	"testing"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
)

// Rules for connections leave the requests of their host to others; rules that
// could not be read do not.
func TestHostsOfRulesForSomethingElse(t *testing.T) {
	tcp := []model.TCPRule{{Field: "spec.tcp[0]"}}
	for _, c := range []struct {
		name string
		set  model.RouteSet
		want []string
	}{
		{"rules of http", model.RouteSet{HTTP: []model.HTTPRule{{Field: "spec.http[0]"}}}, []string{"a.test"}},
		{"rules of http and tcp", model.RouteSet{HTTP: []model.HTTPRule{{Field: "spec.http[0]"}}, TCP: tcp}, []string{"a.test"}},
		{"rules of tcp", model.RouteSet{TCP: tcp}, nil},
		{"no rules", model.RouteSet{}, []string{"a.test"}},
	} {
		bind := model.Bind{Address: model.AnyAddress, Port: 80}
		gw := &model.Gateway{
			Meta:    model.Meta{Ref: model.Ref{Group: "networking.istio.io", Kind: "Gateway", Namespace: "default", Name: "edge"}},
			Servers: []model.Server{{Field: "spec.servers[0]", Protocol: model.ProtocolHTTP, Bind: bind, Hosts: []model.ServerHost{{DNS: "*.test"}}}},
		}
		c.set.Meta = model.Meta{Ref: model.Ref{Group: "networking.istio.io", Kind: "VirtualService", Namespace: "default", Name: "a"}}
		c.set.Hosts, c.set.Gateways = []string{"a.test"}, []model.GatewayRef{{Namespace: "default", Name: "edge"}}
		kind := func(v model.Value) config.Kind {
			return config.Kind{Versions: []string{"v1"}, Decode: func(config.Object) (model.Value, []model.Problem) { return v, nil }}
		}
		compiler := New(Options{ScopedAbove: 256, Fleet: Fleet{Namespace: "default"}, Kinds: map[config.GroupKind]config.Kind{
			{Group: "networking.istio.io", Kind: "Gateway"}: kind(gw), {Group: "networking.istio.io", Kind: "VirtualService"}: kind(&c.set),
		}})
		compiler.Apply(config.Step{Upserts: []config.Object{
			{Meta: gw.Meta, APIVersion: "networking.istio.io/v1"}, {Meta: c.set.Meta, APIVersion: "networking.istio.io/v1"},
		}})
		if got := compiler.rules.hosts.Value(model.Table{Bind: bind}); !slices.Equal(got, c.want) {
			t.Errorf("%s: hosts %v, want %v", c.name, got, c.want)
		}
	}
}
