package compile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sluicegw/sluice/model"
)

// world makes random objects from small pools, so that they refer to each
// other, collide and miss each other often.
type world struct {
	r   *rand.Rand
	pki pki
}

// acmeFleet can do everything about certificates.
func acmeFleet() Fleet {
	at := netip.MustParseAddrPort("127.0.0.1:1")
	return Fleet{Namespace: "default", RootNamespace: "istio-system", ACME: &ACME{HTTP: at, TLSALPN: at, Implied: true}}
}

// pki has two pairs and an authority, in PEM.
type pki struct {
	chain, key [2]string
	ca         string
}

func newPKI(tb testing.TB) (p pki) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	p.ca = certificatePEM(tb, root, key, key)
	for i := range p.chain {
		own, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(own)
		if err != nil {
			tb.Fatal(err)
		}
		leaf := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 2)), DNSNames: []string{"a.test"}, NotBefore: root.NotBefore, NotAfter: root.NotAfter}
		p.chain[i] = certificatePEM(tb, leaf, own, own)
		p.key[i] = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	return p
}

func certificatePEM(tb testing.TB, c *x509.Certificate, of, by *ecdsa.PrivateKey) string {
	tb.Helper()
	der, err := x509.CreateCertificate(crand.Reader, c, c, of.Public(), by)
	if err != nil {
		tb.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

const poolSize = 6

func (w world) pick(of ...string) string { return of[w.r.IntN(len(of))] }
func (w world) some(p float64) bool      { return w.r.Float64() < p }

func (w world) ref(group, kind string) model.Ref {
	return model.Ref{Group: group, Kind: kind, Namespace: w.pick("default", "shop"), Name: fmt.Sprintf("n%d", w.r.IntN(poolSize))}
}

func (w world) meta(r model.Ref) model.Meta {
	m := model.Meta{Ref: r, Seen: uint64(w.r.IntN(3) * w.r.IntN(2)), Order: model.Order{Path: fmt.Sprintf("%s-%s.yaml", r.Kind, r.Name), Index: w.r.IntN(2)}}
	if w.some(0.2) {
		m.Created = time.Unix(int64(w.r.IntN(4)), 0).UTC()
	}
	return m
}

func (w world) host() string {
	return w.pick("a.test", "b.test", "x.a.test", "*.test", "*.a.test", "*", "deep.x.a.test")
}

func (w world) object() model.Value {
	switch w.r.IntN(13) {
	case 12:
		return w.secret()
	case 0, 1:
		return w.gateway()
	case 2, 3, 4, 5:
		return w.routeSet()
	case 6, 7:
		return w.service()
	case 8:
		return w.policy()
	case 9:
		return w.workload()
	case 10:
		return w.slice()
	}
	return w.settings()
}

func (w world) gateway() model.Value {
	gw := &model.Gateway{Meta: w.meta(w.ref("networking.istio.io", "Gateway"))}
	for i := range 1 + w.r.IntN(2) {
		s := model.Server{
			Field: fmt.Sprintf("spec.servers[%d]", i), Protocol: model.Protocol(w.pick("HTTP", "HTTP", "HTTP", "GRPC-WEB", "TCP", "UDP", "TLS")),
			Bind:          model.Bind{Address: w.pick(model.AnyAddress, "127.0.0.1"), Port: uint32(80 + w.r.IntN(2))},
			HTTPSRedirect: w.some(0.2),
		}
		s.Passthrough = s.Protocol == model.ProtocolTLS
		if w.some(0.4) {
			s.Protocol, s.Passthrough, s.TLS = model.Protocol(w.pick("HTTPS", "HTTPS", "TLS")), false, w.serverTLS()
		}
		for range 1 + w.r.IntN(3) {
			s.Hosts = append(s.Hosts, model.ServerHost{Namespace: w.pick("", "", "shop"), DNS: w.host()})
		}
		gw.Servers = append(gw.Servers, s)
	}
	return gw
}

func (w world) routeSet() model.Value {
	rs := &model.RouteSet{Meta: w.meta(w.ref("networking.istio.io", "VirtualService"))}
	for range 1 + w.r.IntN(3) {
		rs.Hosts = append(rs.Hosts, w.host())
	}
	for range 1 + w.r.IntN(2) {
		g := w.ref("", "")
		rs.Gateways = append(rs.Gateways, model.GatewayRef{Namespace: g.Namespace, Name: g.Name})
	}
	if w.some(0.15) { // a delegate child
		rs.Hosts, rs.Gateways = nil, nil
	}
	for i := range 1 + w.r.IntN(3) {
		rs.HTTP = append(rs.HTTP, w.rule(fmt.Sprintf("spec.http[%d]", i), rs))
	}
	if w.some(0.3) {
		rs.TCP = []model.TCPRule{{Field: "spec.tcp[0]", Route: []model.WeightedDestination{w.destination("spec.tcp[0].route[0]")}}}
	}
	if w.some(0.3) {
		rs.TLS = []model.TLSRule{{
			Field: "spec.tls[0]", Route: []model.WeightedDestination{w.destination("spec.tls[0].route[0]")},
			Matches: []model.TLSMatch{{Field: "spec.tls[0].match[0]", SNI: []string{w.host()}}},
		}}
	}
	rs.ExportTo = w.visibility()
	return rs
}

func (w world) visibility() model.Visibility {
	if w.some(0.9) {
		return nil
	}
	return model.Visibility{w.pick("default", "shop")}
}

func (w world) destination(field string) model.WeightedDestination {
	return model.WeightedDestination{
		Field: field, Weight: uint32(1 + w.r.IntN(99)),
		Destination: model.Destination{Host: w.serviceHost(), Subset: w.pick("", "", "v1", "v2"), Port: []uint32{0, 80, 8080}[w.r.IntN(3)]},
	}
}

func (w world) rule(field string, rs *model.RouteSet) model.HTTPRule {
	r := model.HTTPRule{Field: field}
	if w.some(0.6) {
		m := model.Match{Field: field + ".match[0]", URI: &model.StringMatch{Kind: model.MatchKind(w.r.IntN(2)), Value: w.pick("/", "/a", "/b")}}
		if w.some(0.3) {
			m.Port = 80
		}
		if w.some(0.2) && len(rs.Gateways) > 0 {
			m.Gateways = rs.Gateways[:1]
		}
		r.Matches = append(r.Matches, m)
	}
	switch w.r.IntN(7) {
	case 2:
		d := w.ref("", "")
		r.Delegate = &model.Delegate{Namespace: d.Namespace, Name: d.Name}
	case 0:
		r.Direct = &model.DirectResponse{Status: 204}
	case 1:
		r.Redirect = &model.Redirect{Authority: "elsewhere.test", Code: 301}
	default:
		n := 1 + w.r.IntN(2)
		for i := range n {
			r.Route = append(r.Route, w.destination(fmt.Sprintf("%s.route[%d]", field, i)))
		}
		if w.some(0.2) {
			r.Mirrors = []model.Mirror{{Field: field + ".mirrors[0]", Destination: w.destination("").Destination, Percent: 100}}
		}
	}
	return r
}

func (w world) serviceHost() string {
	return w.pick("s1.svc", "s2.svc", "s3.svc", "n1.shop.svc.cluster.local", "dns.example", "a.dyn.example")
}

func (w world) service() model.Value {
	s := &model.Service{Resolution: model.ResolutionStatic}
	s.Meta = w.meta(w.ref("networking.istio.io", "ServiceEntry"))
	s.Hosts = []string{w.serviceHost()}
	for _, n := range []uint32{80, 8080} {
		if w.some(0.7) {
			s.Ports = append(s.Ports, model.ServicePort{Name: fmt.Sprintf("p%d", n), Number: n, Protocol: model.ProtocolHTTP})
		}
	}
	s.ExportTo = w.visibility()
	switch w.r.IntN(5) {
	case 4:
		s.Hosts, s.Resolution = []string{"*.dyn.example"}, model.ResolutionDynamic
	case 0:
		s.Meta = w.meta(w.ref("", "Service"))
		s.Hosts = []string{s.Ref.Name + "." + s.Ref.Namespace + ".svc.cluster.local"}
		s.Resolution = model.ResolutionSlices
	case 1:
		s.WorkloadSelector = map[string]string{"app": w.pick("x", "y")}
	case 2:
		s.Resolution = model.ResolutionDNS
	default:
		for range w.r.IntN(3) {
			s.Endpoints = append(s.Endpoints, w.endpoint())
		}
	}
	return s
}

func (w world) endpoint() model.Endpoint {
	return model.Endpoint{
		Address: fmt.Sprintf("10.0.0.%d", 1+w.r.IntN(20)), Weight: uint32(w.r.IntN(3)),
		Labels: map[string]string{"version": w.pick("v1", "v2"), "app": w.pick("x", "y")},
	}
}

func (w world) policy() model.Value {
	p := &model.DestinationPolicy{Meta: w.meta(w.ref("networking.istio.io", "DestinationRule")), Host: w.pick("s1.svc", "s2.svc", "*.svc", "*", "dns.example")}
	for _, n := range []string{"v1", "v2"} {
		if w.some(0.7) {
			p.Subsets = append(p.Subsets, model.Subset{Field: "spec.subsets[0]", Name: n, Labels: map[string]string{"version": n}})
		}
	}
	p.ExportTo = w.visibility()
	if w.some(0.2) {
		p.Traffic = &model.TrafficPolicy{TLS: &model.UpstreamTLS{Mode: model.TLSSimple, Credential: w.pick("n1", "n2")}}
	}
	if w.some(0.5) {
		p.Traffic = &model.TrafficPolicy{LoadBalancer: &model.LoadBalancer{Simple: model.Balancing(w.pick("ROUND_ROBIN", "RANDOM", ""))}}
	}
	return p
}

func (w world) workload() model.Value {
	return &model.Workload{Meta: w.meta(w.ref("networking.istio.io", "WorkloadEntry")), Endpoint: w.endpoint()}
}

func (w world) slice() model.Value {
	s := &model.EndpointSlice{Meta: w.meta(w.ref("discovery.k8s.io", "EndpointSlice")), Service: fmt.Sprintf("n%d", w.r.IntN(poolSize))}
	s.Ports = []model.SlicePort{{Name: w.pick("p80", "p8080"), Number: 9000}}
	for range w.r.IntN(3) {
		s.Endpoints = append(s.Endpoints, w.endpoint())
	}
	return s
}

func (w world) settings() model.Value {
	s := model.DefaultSettings()
	s.Meta = w.meta(w.ref("sluice.dev", "Settings"))
	s.MaxConcurrentStreams = uint32(w.r.IntN(3)) + 50
	return &s
}

// facts are told to c now and then.
func (w world) facts() Facts {
	f := Facts{}
	switch w.r.IntN(5) {
	case 4:
		f.Requested = map[string]bool{w.pick("a.test", "x.a.test", "y.a.test", "z.test"): w.some(0.7)}
	case 0:
		r := w.ref("", "")
		f.Now = time.Now().Add(time.Duration(w.r.IntN(4)-2) * time.Hour)
		f.Judge = []model.Credential{{Namespace: r.Namespace, Name: r.Name}, {CertificateFile: "/a.crt", KeyFile: "/a.key"}}
	case 1:
		f.Files = map[string]File{w.pick("/a.crt", "/a.key", "/ca.crt"): {Content: []byte(w.pick(w.pki.chain[0], w.pki.key[0], w.pki.chain[1], "torn")), Err: w.pick("", "", "gone")}}
	case 2:
		f.Managed = map[string]*model.ManagedCertificate{w.pick("a.test", "x.a.test", "z.test"): nil}
		if w.some(0.7) {
			i := w.r.IntN(2)
			f.Managed = map[string]*model.ManagedCertificate{w.pick("a.test", "x.a.test", "z.test"): {ChainPEM: []byte(w.pki.chain[i]), KeyPEM: []byte(w.pki.key[i])}}
		}
	case 3:
		f.Tickets = [][]byte{make([]byte, ticketKeyBytes)}
		f.Tickets[0][0] = byte(w.r.IntN(3))
	}
	return f
}

func (w world) serverTLS() *model.ServerTLS {
	t := &model.ServerTLS{Mode: model.ServerTLSMode(w.pick("SIMPLE", "SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"))}
	t.HTTP3 = w.some(0.2)
	t.Layout = model.ChainLayout(w.pick("", "", "", "on-demand", "chains"))
	t.MinVersion = model.TLSVersion(w.pick("", "", "1.3"))
	switch w.r.IntN(4) {
	case 0:
		t.Automation = model.Automation(w.pick("asked", "implied"))
		if w.some(0.7) {
			t.IssueOnDemand, t.Layout = true, model.ChainLayoutOnDemand
			t.Allowed = [][]string{nil, {"*.a.test"}, {"z.test"}}[w.r.IntN(3)]
		}
	case 1:
		t.Certificates = []model.Credential{{CertificateFile: "/a.crt", KeyFile: "/a.key"}}
	default:
		r := w.ref("", "")
		t.Certificates = []model.Credential{{Namespace: r.Namespace, Name: r.Name}}
	}
	if t.Mode != model.ServerTLSSimple {
		r := w.ref("", "")
		t.Authorities = []model.Credential{{Namespace: r.Namespace, Name: r.Name}, {AuthorityFile: "/ca.crt"}}
	}
	return t
}

// secret is good or bad in one or both of its parts.
func (w world) secret() model.Value {
	o := &model.Opaque{Meta: w.meta(w.ref("", "Secret")), Content: map[string][]byte{"ca.crt": []byte(w.pick("not PEM", "", w.pki.ca))}}
	if w.some(0.7) {
		i := w.r.IntN(2)
		o.Content["tls.crt"], o.Content["tls.key"] = []byte(w.pki.chain[i]), []byte(w.pki.key[w.r.IntN(4)/3^i])
	}
	return o
}

// edit changes a few objects of c: mostly one, sometimes several at once.
func (w world) edit(c *Compiler) Result {
	if w.some(0.15) {
		return c.Learn(w.facts())
	}
	var gone []model.Ref
	for range 1 + w.r.IntN(3)*w.r.IntN(2) {
		v := w.object()
		ref := v.Metadata().Ref
		if c.rules.objects.Get(ref) != nil && w.some(0.4) {
			c.rules.set(ref, nil)
			gone = append(gone, ref)
			continue
		}
		gone = slices.DeleteFunc(gone, func(r model.Ref) bool { return r == ref })
		c.rules.set(ref, v)
	}
	return c.settle(gone)
}
