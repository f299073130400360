package compile

import (
	"fmt"
	"testing"

	"github.com/sluicegw/sluice/model"
)

// harbour is n TLS hosts on one port, each with a gateway, a Secret and rules of
// its own.
func harbour(tb testing.TB, n int) (*Compiler, pki) {
	tb.Helper()
	p := newPKI(tb)
	c := New(Options{ScopedAbove: 256, Fleet: acmeFleet()})
	s := serviceOf(0, 1)
	c.rules.set(s.Ref, s)
	for i := range n {
		moor(c, p, i)
	}
	c.settle(nil)
	return c, p
}

// moor adds host i.
func moor(c *Compiler, p pki, i int) {
	name := fmt.Sprintf("h%d", i)
	gw := &model.Gateway{Servers: []model.Server{{
		Field: "spec.servers[0]", Protocol: model.ProtocolHTTPS, Bind: model.Bind{Address: model.AnyAddress, Port: 443},
		Hosts: []model.ServerHost{{DNS: name + ".test"}},
		TLS: &model.ServerTLS{
			Mode: model.ServerTLSSimple, Certificates: []model.Credential{{Namespace: "default", Name: name}},
			CertificateFields: []string{"spec.servers[0].tls.credentialName"},
		},
	}}}
	gw.Ref = model.Ref{Group: "networking.istio.io", Kind: "Gateway", Namespace: "default", Name: name}
	c.rules.set(gw.Ref, gw)
	v := routesOf(i, 0, "v1")
	v.Gateways = []model.GatewayRef{{Namespace: "default", Name: name}}
	c.rules.set(v.Ref, v)
	dock(c, p, i, 0)
}

// dock gives host i one of two certificates.
func dock(c *Compiler, p pki, i, which int) {
	o := &model.Opaque{Content: map[string][]byte{"tls.crt": []byte(p.chain[which]), "tls.key": []byte(p.key[which])}}
	o.Ref = model.Ref{Kind: "Secret", Namespace: "default", Name: fmt.Sprintf("h%d", i)}
	c.rules.set(o.Ref, o)
}

func BenchmarkTLS(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		c, p := harbour(b, n)
		b.Run(fmt.Sprintf("rotate one of %d", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				dock(c, p, i%n, 1-i/n%2)
				if res := c.settle(nil); len(res.Change.Upserts) != 1 {
					b.Fatalf("%d resources change", len(res.Change.Upserts))
				}
			}
		})
		b.Run(fmt.Sprintf("add one to %d", n), func(b *testing.B) {
			for i := n; b.Loop(); i++ {
				moor(c, p, i)
				c.settle(nil)
			}
		})
	}
}
