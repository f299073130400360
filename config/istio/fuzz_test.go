package istio

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// FuzzDecodeIstio decodes anything as each kind: nothing panics, the same input
// has the same answer, every problem says whose and why, and every value keeps
// the promises of package model.
func FuzzDecodeIstio(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(g.object.JSON)
	}
	f.Add([]byte(`null`))
	f.Add([]byte(`{"spec":null}`))
	f.Add([]byte(`{"spec":{"http":[{"match":[{"headers":{"]":{"exact":1}}}]}],"hosts":["x"]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for gk, kind := range Kinds() {
			o := config.Object{JSON: text, Meta: model.Meta{
				Ref: model.Ref{Group: gk.Group, Kind: gk.Kind, Namespace: "shop", Name: "x"},
			}}
			value, problems := kind.Decode(o)
			again, problemsAgain := kind.Decode(o)
			if diff := cmp.Diff(value, again); diff != "" {
				t.Errorf("%s: two decodings differ\n%s", gk.Kind, diff)
			}
			if diff := cmp.Diff(problems, problemsAgain); diff != "" {
				t.Errorf("%s: the problems of two decodings differ\n%s", gk.Kind, diff)
			}
			checkProblems(t, o, problems)
			checkValue(t, value, problems)
		}
	})
}

// FuzzReadSpec reads anything, writes what was kept as protojson does, and
// reads it again: the first pass keeps only what protojson knows, and keeps it
// all.
func FuzzReadSpec(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(g.object.JSON)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, m := range []proto.Message{
			&networking.Gateway{}, &networking.VirtualService{}, &networking.DestinationRule{},
			&networking.ServiceEntry{}, &networking.WorkloadEntry{},
		} {
			first := strict.New(model.Meta{})
			if !first.ReadSpec(text, m.ProtoReflect()) {
				continue
			}
			kept, err := protojson.Marshal(m)
			if err != nil {
				t.Fatalf("protojson refuses what was kept: %v", err)
			}
			object, err := json.Marshal(map[string]json.RawMessage{"spec": kept})
			if err != nil {
				t.Fatal(err)
			}
			again := m.ProtoReflect().New()
			second := strict.New(model.Meta{})
			second.ReadSpec(object, again)
			if len(second.Problems()) > 0 || !proto.Equal(m, again.Interface()) {
				t.Errorf("what was kept is read differently: %v\n%s", second.Problems(), kept)
			}
		}
	})
}

func checkProblems(t *testing.T, o config.Object, problems []model.Problem) {
	t.Helper()
	for _, p := range problems {
		if p.Object != o.Ref || p.Reason == "" || p.Message == "" || p.Severity == "" || strings.ContainsAny(p.Field+p.Message, "\n\r\x00") {
			t.Errorf("incomplete problem %+v", p)
		}
	}
	if !slices.IsSortedFunc(problems, model.Problem.Compare) {
		t.Errorf("problems are not in order: %v", problems)
	}
}

func checkValue(t *testing.T, value model.Value, problems []model.Problem) {
	t.Helper()
	switch v := value.(type) {
	case nil:
		if len(problems) == 0 {
			t.Error("no value and no problem")
		}
	case *model.Gateway:
		for _, s := range v.Servers {
			tls := s.Protocol == model.ProtocolHTTPS || s.Protocol == model.ProtocolTLS
			served := s.Protocol.IsHTTP() || s.Protocol.IsStream() || s.Protocol == model.ProtocolUDP || tls
			if !served || tls != (s.Passthrough || s.TLS != nil) || s.Passthrough && s.TLS != nil || s.HTTPSRedirect && !s.Protocol.IsHTTP() || len(s.Hosts) == 0 || s.Bind.Port == 0 || s.Bind.Port > 65535 || s.Bind.Address == "" {
				t.Errorf("server %+v cannot be served", s)
			}
			checkServerTLS(t, s.TLS)
		}
	case *model.RouteSet:
		for _, h := range v.Hosts {
			if h == "" || h != strings.ToLower(h) {
				t.Errorf("host %q", h)
			}
		}
		for _, rule := range v.HTTP {
			checkRule(t, rule)
			if len(v.Hosts) == 0 && (rule.Delegate != nil || len(v.Gateways) > 0 || v.Mesh) {
				t.Errorf("a route set without hosts delegates or has gateways: %+v", v)
			}
		}
		checkStreams(t, v)
	case *model.DestinationPolicy:
		for _, s := range v.Subsets {
			if s.Name == "" || v.Host == "" {
				t.Errorf("subset %+v of host %q", s, v.Host)
			}
			checkTraffic(t, s.Traffic)
		}
		checkTraffic(t, v.Traffic)
	case *model.Service:
		checkService(t, v)
	case *model.Workload:
		if v.Endpoint.Address == "" {
			t.Errorf("endpoint %+v", v.Endpoint)
		}
	}
}

func checkServerTLS(t *testing.T, s *model.ServerTLS) {
	t.Helper()
	if s == nil {
		return
	}
	if n := len(s.Certificates); (n > 0) == (s.Automation != "") || n > 2 || n != len(s.CertificateFields) {
		t.Errorf("certificates %+v", *s)
	}
	if simple := s.Mode == model.ServerTLSSimple; simple != (len(s.Authorities) == 0) || simple == (s.AuthoritiesField != "") ||
		simple && len(s.SubjectAltNames)+len(s.SPKI)+len(s.Hashes) > 0 || !simple && s.HTTP3 {
		t.Errorf("mode %+v", *s)
	}
	for _, c := range slices.Concat(s.Certificates, s.Authorities) {
		if c.Name != "" == (c.CertificateFile+c.KeyFile+c.AuthorityFile != "") || (c.CertificateFile == "") != (c.KeyFile == "") || strings.ContainsAny(c.Name, "/:") {
			t.Errorf("credential %+v", c)
		}
	}
	for _, digest := range slices.Concat(s.SPKI, s.Hashes) {
		if len(digest) != 44 && len(digest) != 64 {
			t.Errorf("digest %q", digest)
		}
	}
	if s.MaxVersion != "" && s.MinVersion > s.MaxVersion {
		t.Errorf("versions %s to %s", s.MinVersion, s.MaxVersion)
	}
	for _, name := range s.CipherSuites {
		if !check.IsCipherSuite(name) {
			t.Errorf("cipher suite %q", name)
		}
	}
}

func checkRule(t *testing.T, rule model.HTTPRule) {
	t.Helper()
	actions := 0
	for _, given := range []bool{len(rule.Route) > 0, rule.Redirect != nil, rule.Direct != nil, rule.Delegate != nil, rule.Fault != nil} {
		if given {
			actions++
		}
	}
	if actions != 1 || rule.Field == "" {
		t.Errorf("%d actions in rule %+v", actions, rule)
	}
	sum := uint64(0)
	for _, d := range rule.Route {
		if d.Weight == 0 || d.Destination.Host == "" || d.Destination.Port > 65535 || strings.Contains(d.Destination.Subset, "|") {
			t.Errorf("destination %+v", d)
		}
		sum += uint64(d.Weight)
		checkHeaders(t, d.Headers)
	}
	if sum > math.MaxUint32 {
		t.Errorf("weights sum to %d", sum)
	}
	if rule.Timeout != nil && *rule.Timeout < 0 {
		t.Errorf("timeout %s", *rule.Timeout)
	}
	if d := rule.Direct; d != nil && (d.Status < 200 || d.Status > 599 || len(d.Body) > 1<<20) {
		t.Errorf("direct response %+v", d)
	}
	if d := rule.Redirect; d != nil && (d.Code < 301 || d.Code > 308 || d.URI != "" && d.PrefixRewrite != "") {
		t.Errorf("redirect %+v", d)
	}
	checkHeaders(t, rule.Headers)
	for _, m := range rule.Matches {
		for _, s := range []*model.StringMatch{m.URI, m.Scheme, m.Method, m.Authority} {
			if s != nil && ((s.Value == "") != (s.Kind == model.MatchPresent) || s.Kind == model.MatchRegex && check.Regex(s.Value) != nil) {
				t.Errorf("condition %+v", *s)
			}
		}
		if m.Port > 65535 || m.MeshOnly && len(m.Gateways) > 0 {
			t.Errorf("match %+v", m)
		}
	}
}

func checkStreams(t *testing.T, v *model.RouteSet) {
	t.Helper()
	check := func(field string, route []model.WeightedDestination, fault *model.RuleFault) {
		if (len(route) > 0) == (fault != nil) {
			t.Errorf("%s: route %v, fault %v", field, route, fault)
		}
		for _, d := range route {
			if d.Weight == 0 || d.Destination.Host == "" || d.Destination.Port > 65535 {
				t.Errorf("%s: destination %+v", field, d)
			}
		}
	}
	for _, rule := range v.TLS {
		check(rule.Field, rule.Route, rule.Fault)
		if len(rule.Matches) == 0 {
			t.Errorf("%s takes any server name", rule.Field)
		}
		for _, m := range rule.Matches {
			if len(m.SNI) == 0 || m.Port > 65535 {
				t.Errorf("match %+v", m)
			}
		}
	}
	for _, rule := range v.TCP {
		check(rule.Field, rule.Route, rule.Fault)
		for _, m := range rule.Matches {
			if m.Port > 65535 || m.MeshOnly && len(m.Gateways) > 0 {
				t.Errorf("match %+v", m)
			}
		}
	}
}

func checkTraffic(t *testing.T, p *model.TrafficPolicy) {
	t.Helper()
	if p == nil {
		return
	}
	checkUpstreamTLS(t, p.TLS)
	checkBalancing(t, p.LoadBalancer)
	last := uint32(0)
	for _, port := range p.Ports {
		if port.Port <= last || port.Port > 65535 {
			t.Errorf("port %d after %d", port.Port, last)
		}
		last = port.Port
		checkUpstreamTLS(t, port.TLS)
		checkBalancing(t, port.LoadBalancer)
	}
	if u := p.Tunnel; u != nil && (u.TargetHost == "" || u.TargetPort == 0 || u.TargetPort > 65535) {
		t.Errorf("tunnel %+v", *u)
	}
	if b := p.RetryBudget; b != nil && (b.MinConcurrency == 0 || b.Percent < 0 || b.Percent > 100) {
		t.Errorf("retry budget %+v", *b)
	}
	if o := p.Outlier; o != nil && (o.MaxEjectionPercent > 100 || o.MinHealthPercent > 100 || !slices.IsSorted(o.HTTPCodes)) {
		t.Errorf("outlier detection %+v", *o)
	}
}

func checkUpstreamTLS(t *testing.T, s *model.UpstreamTLS) {
	t.Helper()
	if s == nil {
		return
	}
	if s.Field == "" || s.Mode == "" || s.Credential != "" && s.Mode != model.TLSDisable && s.CAFile != "" {
		t.Errorf("tls %+v", *s)
	}
}

func checkBalancing(t *testing.T, b *model.LoadBalancer) {
	t.Helper()
	if b == nil {
		return
	}
	if h := b.Hash; h != nil {
		keys := 0
		for _, given := range []bool{h.Header != "", h.Cookie != nil, h.SourceIP, h.QueryParameter != ""} {
			if given {
				keys++
			}
		}
		if keys != 1 || b.Simple != "" || h.TableSize >= 5000011 {
			t.Errorf("%d keys in hash %+v beside %q", keys, *h, b.Simple)
		}
	}
	if b.Locality != nil {
		for _, d := range b.Locality.Distribute {
			sum := uint32(0)
			for _, to := range d.To {
				sum += to.Percent
			}
			if sum != 100 {
				t.Errorf("shares sum to %d", sum)
			}
		}
	}
}

func checkHeaders(t *testing.T, ops model.HeaderOperations) {
	t.Helper()
	for _, c := range []model.HeaderChanges{ops.Request, ops.Response} {
		for _, h := range slices.Concat(c.Set, c.Add) {
			if strings.HasPrefix(h.Name, ":") || check.HeaderName(h.Name) != nil || h.Name != strings.ToLower(h.Name) || check.HeaderValue(h.Value) != nil {
				t.Errorf("header %q: %q", h.Name, h.Value)
			}
		}
		for _, name := range c.Remove {
			if strings.HasPrefix(name, ":") || check.HeaderName(name) != nil {
				t.Errorf("removed header %q", name)
			}
		}
	}
}

func checkService(t *testing.T, s *model.Service) {
	t.Helper()
	if len(s.Hosts) == 0 {
		t.Error("a service without hosts")
	}
	for _, p := range s.Ports {
		if p.Number == 0 || p.Number > 65535 || p.TargetPort > 65535 || p.Protocol == "" {
			t.Errorf("port %+v", p)
		}
	}
	if (s.Resolution == model.ResolutionNone || s.Resolution == model.ResolutionDynamic) && (len(s.Endpoints) > 0 || s.WorkloadSelector != nil || s.HealthCheck != nil) {
		t.Errorf("resolution %s with endpoints", s.Resolution)
	}
	sum := uint64(0)
	for _, e := range s.Endpoints {
		sum += uint64(max(e.Weight, 1))
		if e.Address == "" || e.Field == "" {
			t.Errorf("endpoint %+v", e)
		}
	}
	if sum > math.MaxUint32 {
		t.Errorf("weights sum to %d", sum)
	}
}
