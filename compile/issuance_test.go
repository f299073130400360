package compile

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegw/sluice/model"
)

// issuing is a gateway below whose hosts certificates are ordered on demand.
func issuing(name string, port uint32, allowed []string, hosts ...string) *model.Gateway {
	s := model.Server{
		Field: "spec.servers[0]", Protocol: model.ProtocolHTTPS, Bind: model.Bind{Address: model.AnyAddress, Port: port},
		TLS: &model.ServerTLS{
			Mode: model.ServerTLSSimple, Automation: model.AutomationAsked,
			IssueOnDemand: true, Allowed: allowed, Layout: model.ChainLayoutOnDemand,
		},
	}
	for _, h := range hosts {
		s.Hosts = append(s.Hosts, model.ServerHost{DNS: h})
	}
	ref := model.Ref{Group: "networking.istio.io", Kind: "Gateway", Namespace: "default", Name: name}
	return &model.Gateway{Meta: model.Meta{Ref: ref}, Servers: []model.Server{s}}
}

// problemsOf returns what c says of a gateway.
func problemsOf(c *Compiler, gw *model.Gateway) string {
	var out []string
	for _, problems := range c.reports {
		for _, p := range problems {
			if p.Object == gw.Ref {
				out = append(out, p.Message)
			}
		}
	}
	return strings.Join(out, "\n")
}

func secretsOf(c *Compiler) (out []string) {
	for name, r := range c.resources {
		switch {
		case name.Type != model.TypeSecret:
		case r.OnRequest:
			out = append(out, "on request "+name.Name)
		default:
			out = append(out, name.Name)
		}
	}
	slices.Sort(out)
	return out
}

// What clients ask for below a wildcard is wanted, served once it is signed, and
// gone with the wildcard.
func TestNamesOnDemand(t *testing.T) {
	p := newPKI(t)
	c := New(Options{Fleet: acmeFleet()})
	gw := issuing("web", 443, []string{"*.a.shop.test", "b.shop.test"}, "*.shop.test", "fixed.shop.test")
	put(c, gw)
	expect := func(secrets []string, managed ...string) {
		t.Helper()
		var hosts []string
		for _, h := range c.Wants().Managed {
			hosts = append(hosts, h.Host)
		}
		if diff := cmp.Diff(managed, hosts) + cmp.Diff(secrets, secretsOf(c)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if err := c.Verify(); err != nil {
			t.Error(err)
		}
	}
	expect([]string{"on request *.shop.test"}, "fixed.shop.test")
	if diff := cmp.Diff([]model.Issuer{{Wildcard: "*.shop.test", Allowed: []string{"*.a.shop.test", "b.shop.test"}}}, c.Wants().Issuers); diff != "" {
		t.Errorf("issuers (-want +got)\n%s", diff)
	}
	signed := func(host string) map[string]*model.ManagedCertificate {
		return map[string]*model.ManagedCertificate{host: {Host: host, ChainPEM: []byte(p.chain[0]), KeyPEM: []byte(p.key[0])}}
	}
	c.Learn(Facts{Requested: map[string]bool{
		"x.a.shop.test": true, "b.shop.test": true, "not-allowed.shop.test": true, "fixed.shop.test": true, "elsewhere.test": true,
	}})
	expect([]string{"on request *.shop.test"}, "b.shop.test", "fixed.shop.test", "x.a.shop.test")
	c.Learn(Facts{Managed: signed("b.shop.test")}, Facts{Managed: signed("fixed.shop.test")}, Facts{Managed: signed("not-allowed.shop.test")})
	expect([]string{"b.shop.test", "fixed.shop.test", "on request *.shop.test"}, "b.shop.test", "fixed.shop.test", "x.a.shop.test")
	c.Learn(Facts{Requested: map[string]bool{"x.a.shop.test": false, "never.shop.test": false}})
	expect([]string{"b.shop.test", "fixed.shop.test", "on request *.shop.test"}, "b.shop.test", "fixed.shop.test")
	put(c, issuing("web", 443, nil, "fixed.shop.test"))
	expect([]string{"fixed.shop.test"}, "fixed.shop.test")
	if len(c.Wants().Issuers) > 0 {
		t.Errorf("%v issue yet", c.Wants().Issuers)
	}
}

// What stands against orders on demand is told, and closes the wildcard.
func TestNoNamesOnDemand(t *testing.T) {
	c := New(Options{Fleet: acmeFleet()})
	first, second := issuing("a", 443, nil, "*.a.test"), issuing("b", 8443, nil, "*.b.test", "fixed.b.test")
	any, below := issuing("any", 443, nil, "*"), issuing("below", 443, nil, "*.own.test")
	own := issuing("own", 443, nil, "*.test")
	own.Servers[0].TLS = &model.ServerTLS{Mode: model.ServerTLSSimple, MinVersion: model.TLS13, Certificates: []model.Credential{{Namespace: "default", Name: "own"}}}
	own.Servers[0].Hosts[0].DNS = "*.own.test"
	below.Servers[0].Hosts[0].DNS = "*.deep.own.test"
	for _, gw := range []*model.Gateway{first, second, any, own, below} {
		put(c, gw)
	}
	if got := problemsOf(c, first); got != "" {
		t.Errorf("the first is said to have %s", got)
	}
	for gw, want := range map[*model.Gateway]string{
		second: "on port 0.0.0.0:443 already", any: "sluice.dev/tls-allow", below: "a wildcard of the port that covers it",
	} {
		if got := problemsOf(c, gw); !strings.Contains(got, want) {
			t.Errorf("%v: %s, want %s", gw.Ref, got, want)
		}
	}
	if diff := cmp.Diff([]model.Issuer{{Wildcard: "*.a.test"}}, c.Wants().Issuers); diff != "" {
		t.Errorf("issuers (-want +got)\n%s", diff)
	}
	if err := c.Verify(); err != nil {
		t.Error(err)
	}
}
