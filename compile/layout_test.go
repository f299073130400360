package compile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluicegw/sluice/model"
)

// square is a TLS port with one certificate for some server names, and n hosts
// below "*.test".
func square(t *testing.T, n int, names ...string) *Compiler {
	t.Helper()
	c, p := harbour(t, 0)
	gw := gatewayOf(names...)
	c.rules.set(gw.Ref, gw)
	dock(c, p, 0, 0)
	for i := range n {
		v := routesOf(i, 0, "v1")
		c.rules.set(v.Ref, v)
	}
	c.settle(nil)
	return c
}

func gatewayOf(names ...string) *model.Gateway {
	gw := &model.Gateway{Servers: []model.Server{{
		Field: "spec.servers[0]", Protocol: model.ProtocolHTTPS, Bind: model.Bind{Address: model.AnyAddress, Port: 443},
		TLS: &model.ServerTLS{
			Mode: model.ServerTLSSimple, Certificates: []model.Credential{{Namespace: "default", Name: "h0"}},
			CertificateFields: []string{"spec.servers[0].tls.credentialName"},
		},
	}}}
	for _, n := range names {
		gw.Servers[0].Hosts = append(gw.Servers[0].Hosts, model.ServerHost{DNS: n})
	}
	gw.Ref = model.Ref{Group: "networking.istio.io", Kind: "Gateway", Namespace: "default", Name: "edge"}
	return gw
}

// numbered are the names h0.test, h1.test and so on.
func numbered(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("h%d.test", i))
	}
	return out
}

// shapeOf says how the one HTTP table of c is found and laid out.
func shapeOf(c *Compiler) string {
	for t, byScope := range c.rules.scopes.All() {
		if c.rules.table.Has(t) {
			return fmt.Sprintf("scopes=%v scoped=%v shared=%v", byScope, c.rules.layout.Value(t), t.TLS && t.Policy == "")
		}
	}
	return "none"
}

// A table that passes the limit changes its layout, and no listener changes.
func TestPassingTheLimitChangesNoListener(t *testing.T) {
	for name, c := range map[string]*Compiler{
		"plain HTTP":          city(256, 1),
		"a wildcard over TLS": square(t, 255, "*.test"), // which is a host too
	} {
		before := shapeOf(c)
		res := put(c, routesOf(256, 0, "v1"))
		if after := shapeOf(c); !strings.Contains(before, "scoped=false") || !strings.Contains(after, "scoped=true") {
			t.Errorf("%s: %s becomes %s", name, before, after)
		}
		for _, r := range res.Change.Upserts {
			if r.Type == model.TypeListener {
				t.Errorf("%s: listener %s changes", name, r.Name)
			}
		}
		if err := c.Verify(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// How hosts find their table stays as it was at first sight, whatever comes.
func TestFindingStays(t *testing.T) {
	const byName, byScope, shared = "scopes=false scoped=false shared=false", "scopes=true scoped=false shared=false", "scopes=true scoped=true shared=true"
	for _, c := range []struct {
		name          string
		first         []string
		then          []string
		before, after string
	}{
		{"a wildcard joins exact names", []string{"h0.test"}, []string{"h0.test", "*.test"}, byName, byName},
		{"a wildcard leaves", []string{"h0.test", "*.test"}, []string{"h0.test"}, byScope, byScope},
		{"exact names pass the limit", numbered(256), numbered(257), byName, byName},
		{"more than the limit at first sight", numbered(257), numbered(258), shared, shared},
		{"names pass what chains are for", numbered(256), numbered(onDemandAbove + 1), byName, shared},
	} {
		t.Run(c.name, func(t *testing.T) {
			sq := square(t, len(c.first), c.first...)
			if got := shapeOf(sq); got != c.before {
				t.Errorf("at first: %s, want %s", got, c.before)
			}
			for i := len(c.first); i < len(c.then); i++ {
				v := routesOf(i, 0, "v1")
				sq.rules.set(v.Ref, v)
			}
			put(sq, gatewayOf(c.then...))
			if got := shapeOf(sq); got != c.after {
				t.Errorf("then: %s, want %s", got, c.after)
			}
			if err := sq.Verify(); err != nil {
				t.Error(err)
			}
		})
	}
}
