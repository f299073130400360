package routing_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/routing"
	"github.com/sluicegw/sluice/xds/sim"
)

// forest draws virtual hosts and requests whose paths meet.
type forest struct{ *rand.Rand }

func newForest(seed uint64) forest { return forest{rand.New(rand.NewPCG(seed, 7))} }

func one[T any](f forest, of ...T) T { return of[f.IntN(len(of))] }

// path is a path of few segments of few words.
func (f forest) path() string {
	out := ""
	for range 1 + f.IntN(4) {
		out += "/" + one(f, "a", "b", "a", "b", "ab", "A", "é", "a.b")
	}
	return out
}

func (f forest) match() *routev3.RouteMatch {
	out := &routev3.RouteMatch{}
	switch f.IntN(120) {
	case 0, 1:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{
			Regex: one(f, f.path()+"/[a-z]+", f.path()+"/(a|b).*", "/a|/ab/.*", ".*b", "/a+", "/A*/b", "(?i)/a/b", `/a\?b`, `/a[.]b|/c/.*`, f.path()+".?"),
		}}
		return out
	case 2:
		out.PathSpecifier = &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}
		return out
	case 3:
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: one(f, "/a", "/ab", "/a/b")}
	default:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: f.path() + one(f, "", "", "", "", "?q")}
		if f.IntN(2) == 0 {
			out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: f.path() + f.path() + one(f, "", "", "/", "?q", "//")}
		}
	}
	if f.IntN(80) == 0 {
		out.CaseSensitive = wrapperspb.Bool(f.IntN(4) == 0)
	}
	if f.IntN(3) == 0 {
		out.Headers = []*routev3.HeaderMatcher{{Name: one(f, ":method", "x-a"), HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
			StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: one(f, "GET", "POST", "one")}},
		}}}
	}
	return out
}

// host has more routes than are kept as a list, and often the 404s of the
// scoped layout behind them.
func (f forest) host(domain string) *routev3.VirtualHost {
	vh := &routev3.VirtualHost{Name: domain, Domains: []string{domain}}
	add := func(m *routev3.RouteMatch) {
		vh.Routes = append(vh.Routes, &routev3.Route{
			Name: fmt.Sprintf("r%d", len(vh.Routes)), Match: m,
			Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200}},
		})
	}
	for range 101 + f.IntN(60) {
		add(f.match())
	}
	if f.IntN(2) == 0 {
		add(&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}})
	}
	if f.IntN(2) == 0 {
		add(&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}})
		add(&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{}})
	}
	return vh
}

func (f forest) request(host string) sim.Request {
	out := sim.Request{
		Host: host, Method: one(f, "GET", "GET", "GET", "POST"),
		Path: f.path() + one(f, "", "", f.path(), f.path(), "/", "x", "?q", "?q=/a/b", "/?"), Headers: map[string]string{},
	}
	switch f.IntN(20) {
	case 0:
		out.Method = "CONNECT"
	case 1:
		out.Path = "*"
		out.Method = "OPTIONS"
	}
	if f.IntN(3) == 0 {
		out.Headers["x-a"] = "one"
	}
	return out
}

func table(vh *routev3.VirtualHost) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{vh}, ValidateClusters: wrapperspb.Bool(false)}
}

// FuzzTree compares the list of a virtual host and its tree, request by request.
func FuzzTree(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		g := newForest(seed)
		list := g.host("a.example.com")
		before := marshal(t, list)
		tree := routing.Tree(list)
		if !bytes.Equal(before, marshal(t, list)) {
			t.Fatal("the list was changed")
		}
		if tree.GetMatcher() == nil {
			if tree != list {
				t.Error("a copy is returned for nothing")
			}
			return // too many routes for every path; TestTreeWhereItPays draws the line
		}
		if err := tree.ValidateAll(); err != nil || len(tree.GetRoutes()) > 0 {
			t.Fatalf("Envoy would refuse the tree: %v", err)
		}
		if !bytes.Equal(marshal(t, tree), marshal(t, routing.Tree(list))) {
			t.Error("the same list gives different trees")
		}
		for range 200 {
			r := g.request("a.example.com")
			want, got := sim.Routes(table(list), r), sim.Routes(table(tree), r)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%+v: the tree answers differently (-list +tree):\n%s", r, diff)
			}
		}
	})
}

// TestForestHasTrees keeps the comparisons from comparing nothing.
func TestForestHasTrees(t *testing.T) {
	trees := 0
	for seed := range uint64(60) {
		if routing.Tree(newForest(seed).host("*")).GetMatcher() != nil {
			trees++
		}
	}
	if trees < 30 {
		t.Errorf("only %d of 60 drawn hosts become trees", trees)
	}
}

// listed returns a host with n routes, each made by match.
func listed(n int, match func(i int) *routev3.RouteMatch) *routev3.VirtualHost {
	vh := &routev3.VirtualHost{Name: "a", Domains: []string{"a"}, RetryPolicy: &routev3.RetryPolicy{RetryOn: "5xx"}}
	for i := range n {
		vh.Routes = append(vh.Routes, &routev3.Route{
			Name: fmt.Sprint(i), Match: match(i),
			Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200}},
		})
	}
	return vh
}

func pathOfNumber(i int) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: fmt.Sprintf("/item/%05d/", i)}}
}

func regexOfNumber(i int) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{
		Regex: fmt.Sprintf("/item/%05d/[a-z]+", i),
	}}}
}

func TestTreeWhereItPays(t *testing.T) {
	anywhere := func(i int) *routev3.RouteMatch {
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: fmt.Sprintf(".*/%d", i)}}}
	}
	mixed := func(i int) *routev3.RouteMatch {
		if i%2 == 0 {
			return anywhere(i)
		}
		return pathOfNumber(i)
	}
	redirect := listed(101, pathOfNumber)
	redirect.RequireTls = routev3.VirtualHost_ALL
	for _, c := range []struct {
		name string
		host *routev3.VirtualHost
		want bool
	}{
		{"few routes", listed(100, pathOfNumber), false},
		{"many routes", listed(101, pathOfNumber), true},
		{"regexes that begin differently", listed(5000, regexOfNumber), true},
		{"regexes that may take anything", listed(101, anywhere), false},
		{"so many of them that leaves are copies of the list", listed(1000, mixed), false},
		{"a redirect before all routes", redirect, false},
	} {
		got := routing.Tree(c.host)
		if (got != c.host) != c.want {
			t.Errorf("%s: a tree: %t, want %t", c.name, got != c.host, c.want)
		}
		if again := routing.Tree(got); again != got {
			t.Errorf("%s: a tree does not stay as it is", c.name)
		}
	}
}

func TestTreeKeepsTheRestOfTheHost(t *testing.T) {
	list := listed(101, pathOfNumber)
	tree := proto.CloneOf(routing.Tree(list))
	tree.Matcher, tree.Routes = nil, list.Routes
	if !proto.Equal(list, tree) {
		t.Errorf("the tree has lost something: %v", tree)
	}
}

// TestTreeAgainstEnvoy gives lists and their trees to the real Envoy, which
// answers both alike.
func TestTreeAgainstEnvoy(t *testing.T) {
	g := newForest(99)
	hosts := map[string]*routev3.VirtualHost{}
	for i := 0; i < 5; {
		list := g.host("*")
		if tree := routing.Tree(list); tree != list {
			name := fmt.Sprintf("h%d", i)
			hosts[name], hosts[name+"-tree"] = list, tree
			i++
		}
	}
	e := runEnvoy(t, hosts)
	taken, routes := map[string]int{}, map[string]bool{}
	for i := range 5 {
		name := fmt.Sprintf("h%d", i)
		for range 150 {
			r := g.request("a.example.com")
			r.Path = strings.NewReplacer("é", "e", "*", "/").Replace(r.Path) // what the connection manager lets through
			want := sim.Routes(table(hosts[name]), r).Route
			list, tree := e.call(t, name, r).Header.Get("x-route"), e.call(t, name+"-tree", r).Header.Get("x-route")
			if list != want || tree != want {
				t.Errorf("%s, %+v: list %q, tree %q, simulated %q", name, r, list, tree, want)
			}
			taken[want]++
			routes[name+want] = true
		}
	}
	if len(routes) < 50 || taken[""] < 20 {
		t.Errorf("few routes were taken: %v", taken)
	}
}

// BenchmarkLastRoute measures the first and the last of 5,000 routes of a host
// on the real Envoy, one request after the other over one connection.
func BenchmarkLastRoute(b *testing.B) {
	const routes = 5000
	prefixes, regexes := listed(routes, pathOfNumber), listed(routes, regexOfNumber)
	for _, vh := range []*routev3.VirtualHost{prefixes, regexes} {
		vh.Domains = []string{"*"}
	}
	hosts := map[string]*routev3.VirtualHost{
		"prefix-list": prefixes, "prefix-tree": routing.Tree(prefixes),
		"regex-list": regexes, "regex-tree": routing.Tree(regexes),
	}
	e := runEnvoy(b, hosts)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range hosts {
			if !yield(name) {
				return
			}
		}
	}) {
		for at, i := range map[string]int{"first": 0, "last": routes - 1} {
			b.Run(name+"/"+at, func(b *testing.B) {
				conn := e.dial(b, name)
				for b.Loop() {
					resp := conn.send(b, sim.Request{Method: "GET", Host: "a", Path: fmt.Sprintf("/item/%05d/x", i)})
					if resp.StatusCode != 200 {
						b.Fatalf("status %d", resp.StatusCode)
					}
				}
			})
		}
	}
}
