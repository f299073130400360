package routing_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/routing"
)

// FuzzVirtualHost builds inputs from bytes and wants of every virtual host what
// its readers rely on.
func FuzzVirtualHost(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 64 {
		seed := make([]byte, 400)
		for i := range seed {
			seed[i] = byte(r.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed []byte) {
		in := (&drawer{rest: seed}).input("a.example.com")
		vh, problems := routing.VirtualHost(in)
		check(t, vh, problems)
		again, problemsAgain := routing.VirtualHost(in)
		if !bytes.Equal(marshal(t, vh), marshal(t, again)) || !slices.Equal(problems, problemsAgain) {
			t.Error("the same input gives different results")
		}
	})
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	out, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func check(t *testing.T, vh *routev3.VirtualHost, problems []model.Problem) {
	t.Helper()
	if err := vh.ValidateAll(); err != nil {
		t.Errorf("Envoy would refuse it: %v", err)
	}
	matches := map[string]bool{}
	for i, r := range vh.GetRoutes() {
		m := r.GetMatch()
		if (m.GetPrefix() == "/" || m.GetSafeRegex().GetRegex() == ".*") && len(m.GetHeaders())+len(m.GetQueryParameters()) == 0 &&
			i != len(vh.GetRoutes())-1 {
			t.Errorf("route %d takes every request, and others follow", i)
		}
		if key := string(marshal(t, m)); matches[key] {
			t.Errorf("route %d cannot be reached", i)
		} else {
			matches[key] = true
		}
		if r.GetName() == "" {
			t.Errorf("route %d does not say whose it is: %v", i, r)
		}
	}
	if !slices.IsSortedFunc(problems, model.Problem.Compare) {
		t.Errorf("problems are not sorted: %v", problems)
	}
	for _, p := range problems {
		if p.Object.Name == "" || p.Field == "" || p.Reason == "" || p.Message == "" || p.Severity == "" {
			t.Errorf("a problem does not say what, where or why: %+v", p)
		}
	}
}

// drawer makes an input of bytes; when they are used up, everything is the
// first choice.
type drawer struct{ rest []byte }

func (d *drawer) n(limit int) int {
	if len(d.rest) == 0 {
		return 0
	}
	out := int(d.rest[0]) % limit
	d.rest = d.rest[1:]
	return out
}

func draw[T any](d *drawer, of ...T) T { return of[d.n(len(of))] }

// text is a word that means something here, or whatever the bytes say.
func (d *drawer) text(words ...string) string {
	if d.n(4) > 0 {
		return draw(d, words...)
	}
	size := min(d.n(8), len(d.rest))
	out := string(d.rest[:size])
	d.rest = d.rest[size:]
	return out
}

func (d *drawer) input(host string) routing.HostInput {
	in := routing.HostInput{
		Table: "http.80", Port: draw[uint32](d, 80, 443, 8080), Host: host,
		HTTPSRedirect: d.n(4) == 1, Targets: map[model.Destination]model.Target{},
		Proxy: routing.Proxy{Labels: draw(d, nil, map[string]string{"app": "edge"}), Namespace: draw(d, "", "infra")},
	}
	for i := range 1 + d.n(3) {
		set := &model.RouteSet{Meta: model.Meta{Ref: model.Ref{
			Kind: "VirtualService", Namespace: "shop", Name: fmt.Sprintf("set%d", i),
		}}}
		for j := range 1 + d.n(4) {
			set.HTTP = append(set.HTTP, d.rule(in.Targets, fmt.Sprintf("spec.http[%d]", j)))
		}
		if d.n(6) == 1 {
			for k := range set.HTTP {
				set.HTTP[k].Owner = model.Ref{Kind: "VirtualService", Namespace: "team", Name: "child"}
			}
		}
		in.Bindings = append(in.Bindings, routing.Binding{
			Set: set, Gateways: []model.GatewayRef{{Namespace: "infra", Name: "edge"}},
		})
	}
	return in
}

func (d *drawer) rule(targets map[model.Destination]model.Target, field string) model.HTTPRule {
	out := model.HTTPRule{
		Field: field, Name: draw(d, "", "named"),
		Headers: d.operations(), Timeout: d.period(), Retries: d.retries(), Inject: d.inject(), CORS: d.cors(),
	}
	for i := range max(0, d.n(6)-3) {
		m := d.destination(targets, "")
		out.Mirrors = append(out.Mirrors, model.Mirror{
			Field: fmt.Sprintf("%s.mirrors[%d]", field, i), Destination: m.Destination, Percent: d.percent(),
		})
	}
	for i := range d.n(4) {
		out.Matches = append(out.Matches, d.match(fmt.Sprintf("%s.match[%d]", field, i)))
	}
	switch d.n(8) {
	case 1:
		out.Redirect = &model.Redirect{
			URI: d.text("", "/x"), PrefixRewrite: d.text("", "/y"), Authority: d.text("", "b.org"), Scheme: d.text("", "https"),
			Port: draw[uint32](d, 0, 80, 443, 99999), DerivePort: draw(d, model.RedirectPortUnset, model.RedirectPortProtocolDefault, model.RedirectPortRequest),
			Code: draw[uint32](d, 0, 302, 308, 200),
		}
	case 2:
		out.Direct = &model.DirectResponse{Status: draw[uint32](d, 200, 99, 600, 503), Body: []byte(d.text("", "hello"))}
	case 3:
		out.Fault = &model.RuleFault{Reason: model.ReasonNotYetSupported}
	default:
		for i := range d.n(4) {
			out.Route = append(out.Route, d.destination(targets, fmt.Sprintf("%s.route[%d]", field, i)))
		}
		if d.n(3) == 1 {
			out.Rewrite = &model.Rewrite{
				URI: d.text("", "/x"), Authority: d.text("", "b.org"), Regex: d.text("", "", "/(.*)", "("), Substitution: d.text("", `\1`, `\2`, `\\`, `\`),
			}
		}
	}
	return out
}

func (d *drawer) destination(targets map[model.Destination]model.Target, field string) model.WeightedDestination {
	to := model.Destination{Host: draw(d, "v", "w", "gone"), Subset: draw(d, "", "v1"), Port: 80}
	if to.Host != "gone" {
		targets[to] = model.Target{Cluster: model.ClusterName(to), Hash: d.hash()}
	}
	return model.WeightedDestination{
		Field: field, Destination: to, Weight: draw[uint32](d, 1, 0, 99, 1<<32-1), Headers: d.operations(),
	}
}

func (d *drawer) match(field string) model.Match {
	return model.Match{
		Fault: draw(d, nil, nil, nil, &model.RuleFault{Reason: model.ReasonInvalidValue}),
		Field: field, Name: draw(d, "", "m"), IgnoreURICase: d.n(2) == 1,
		URI: d.str("/", "/a", "/a/b", ".*", "["), Scheme: d.str("http"), Method: d.str("GET"), Authority: d.str("a.example.com"),
		Headers: d.keys(), WithoutHeaders: d.keys(), QueryParams: d.keys(),
		Port: draw[uint32](d, 0, 0, 80), MeshOnly: d.n(16) == 1,
		StatPrefix: draw(d, "", "s"), SourceNamespace: draw(d, "", "", "infra"), SourceLabels: draw(d, nil, nil, map[string]string{"app": "edge"}),
	}
}

func (d *drawer) percent() float64 {
	return draw(d, 100, 0, 0.00001, 33.3333, 101, -1, math.NaN(), math.Inf(1))
}

func (d *drawer) inject() *model.FaultInjection {
	if d.n(6) != 1 {
		return nil
	}
	out := &model.FaultInjection{}
	if p := d.period(); p != nil {
		out.Delay = &model.FaultDelay{Percent: d.percent(), Fixed: *p}
	}
	if d.n(2) == 1 {
		out.Abort = &model.FaultAbort{
			Percent: d.percent(), HTTPStatus: draw[uint32](d, 503, 0, 200, 700),
			HasGRPC: d.n(2) == 1, GRPCStatus: draw[uint32](d, 14, 0, 99),
		}
	}
	return out
}

func (d *drawer) cors() *model.CORSPolicy {
	if d.n(6) != 1 {
		return nil
	}
	out := &model.CORSPolicy{
		AllowMethods: draw(d, nil, []string{"GET", "PUT"}), AllowHeaders: []string{d.text("x-a", "*")}, ExposeHeaders: []string{d.text("x-b")},
		MaxAge: d.period(), AllowCredentials: draw(d, nil, new(bool)), ForwardUnmatched: d.n(2) == 1,
	}
	for range d.n(3) {
		if o := d.str("https://a.example.com", "*", "https://.*", "("); o != nil {
			out.AllowOrigins = append(out.AllowOrigins, *o)
		}
	}
	return out
}

func (d *drawer) hash() *model.ConsistentHash {
	switch d.n(6) {
	case 1:
		return &model.ConsistentHash{Header: d.text("x-user")}
	case 2:
		return &model.ConsistentHash{SourceIP: true}
	case 3:
		return &model.ConsistentHash{QueryParameter: d.text("q")}
	case 4:
		return &model.ConsistentHash{Cookie: &model.HashCookie{
			Name: d.text("c"), Path: d.text("", "/"), TTL: d.period(),
			Attributes: []model.HeaderValue{{Name: d.text("SameSite"), Value: d.text("Strict")}},
		}}
	}
	return nil
}

func (d *drawer) str(words ...string) *model.StringMatch {
	if d.n(3) > 0 {
		return nil
	}
	return &model.StringMatch{
		Kind:  draw(d, model.MatchPrefix, model.MatchExact, model.MatchRegex, model.MatchPresent),
		Value: d.text(words...),
	}
}

func (d *drawer) keys() []model.KeyMatch {
	var out []model.KeyMatch
	for range max(0, d.n(5)-2) {
		if s := d.str("one", "", "a+", "("); s != nil {
			out = append(out, model.KeyMatch{Key: d.text("x-a", "x-b", ""), StringMatch: *s})
		}
	}
	return out
}

func (d *drawer) operations() model.HeaderOperations {
	return model.HeaderOperations{
		Request: d.changes(), Response: d.changes(), SetAuthority: d.text("", "", "b.org"),
	}
}

func (d *drawer) changes() model.HeaderChanges {
	var out model.HeaderChanges
	for range max(0, d.n(8)-5) {
		h := model.HeaderValue{Name: d.text("x-a", "x-b", "host", ":path"), Value: d.text("one", "%REQ(x)%", "100%", "%%", "%NOPE%", "")}
		switch d.n(3) {
		case 0:
			out.Set = append(out.Set, h)
		case 1:
			out.Add = append(out.Add, h)
		default:
			out.Remove = append(out.Remove, h.Name)
		}
	}
	return out
}

func (d *drawer) retries() *model.Retries {
	if d.n(3) > 0 {
		return nil
	}
	yes := true
	return &model.Retries{
		Attempts: draw[uint32](d, 0, 1, 1<<31), PerTryTimeout: d.period(), Backoff: d.period(),
		RetryOn: draw(d, nil, []string{"5xx"}, []string{d.text("reset")}), StatusCodes: draw(d, nil, []uint32{503}),
		RemoteLocalities: draw(d, nil, &yes), IgnorePreviousHosts: draw(d, nil, &yes, new(bool)),
	}
}

func (d *drawer) period() *time.Duration {
	out := draw(d, -1, 0, time.Nanosecond, time.Second, 1<<63-1, -time.Second)
	if out == -1 {
		return nil
	}
	return &out
}
