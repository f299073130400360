package delegate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/routing/delegate"
)

func ref(name string) model.Ref {
	return model.Ref{Group: "networking.istio.io", Kind: "VirtualService", Namespace: "shop", Name: name}
}

// rule is a rule of the other set that answers 200.
func rule(matches ...model.Match) model.HTTPRule {
	for i := range matches {
		matches[i].Field = "spec.http[0].match[" + string(rune('0'+i)) + "]"
	}
	return model.HTTPRule{Field: "spec.http[0]", Matches: matches, Direct: &model.DirectResponse{Status: 200}}
}

// delegating is a rule that delegates to shop/child.
func delegating(matches ...model.Match) model.HTTPRule {
	return model.HTTPRule{Field: "spec.http[0]", Matches: matches, Delegate: &model.Delegate{Namespace: "shop", Name: "child"}}
}

func expand(root, child model.HTTPRule) (*model.RouteSet, []model.Problem) {
	return delegate.Expand(
		&model.RouteSet{Meta: model.Meta{Ref: ref("root")}, Hosts: []string{"a.example.com"}, HTTP: []model.HTTPRule{root}},
		func(d model.Delegate) *model.RouteSet {
			if d.Name != "child" {
				return nil
			}
			return &model.RouteSet{Meta: model.Meta{Ref: ref("child")}, HTTP: []model.HTTPRule{child}}
		})
}

func TestSetWithoutDelegationStaysItself(t *testing.T) {
	set := &model.RouteSet{HTTP: []model.HTTPRule{rule()}}
	got, problems := delegate.Expand(set, nil)
	if got != set || problems != nil {
		t.Errorf("got %p and %v, want %p", got, problems, set)
	}
	if n := testing.AllocsPerRun(10, func() { delegate.Expand(set, nil) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func exact(v string) *model.StringMatch { return &model.StringMatch{Kind: model.MatchExact, Value: v} }

func prefix(v string) *model.StringMatch {
	return &model.StringMatch{Kind: model.MatchPrefix, Value: v}
}

func regex(v string) *model.StringMatch { return &model.StringMatch{Kind: model.MatchRegex, Value: v} }
func present() *model.StringMatch       { return &model.StringMatch{Kind: model.MatchPresent} }

func key(k string, s *model.StringMatch) []model.KeyMatch {
	return []model.KeyMatch{{Key: k, StringMatch: *s}}
}

// TestStringsNarrow holds what may stand in a delegated match under what the
// delegating rule says, for each field that compares a string.
func TestStringsNarrow(t *testing.T) {
	cases := []struct {
		name        string
		root, child *model.StringMatch
		want        *model.StringMatch // nil: a conflict
	}{
		{"longer prefix", prefix("/a"), prefix("/a/b"), prefix("/a/b")},
		{"equal prefix", prefix("/a"), prefix("/a"), prefix("/a")},
		{"exact in a prefix", prefix("/a"), exact("/ab"), exact("/ab")},
		{"equal exact", exact("/a"), exact("/a"), exact("/a")},
		{"equal regex", regex("/a.*"), regex("/a.*"), regex("/a.*")},
		{"anything under presence", present(), regex("x"), regex("x")},
		{"shorter prefix", prefix("/a/b"), prefix("/a"), nil},
		{"other prefix", prefix("/a"), prefix("/b"), nil},
		{"exact outside", prefix("/a"), exact("/b"), nil},
		{"prefix of an exact", exact("/a"), prefix("/a"), nil},
		{"other exact", exact("/a"), exact("/b"), nil},
		{"regex in a prefix", prefix("/a"), regex("/a/.*"), nil},
		{"exact in a regex", regex("/a.*"), exact("/ab"), nil},
		{"presence under a value", exact("x"), present(), nil},
	}
	fields := map[string]func(*model.Match) **model.StringMatch{
		"uri":       func(m *model.Match) **model.StringMatch { return &m.URI },
		"scheme":    func(m *model.Match) **model.StringMatch { return &m.Scheme },
		"method":    func(m *model.Match) **model.StringMatch { return &m.Method },
		"authority": func(m *model.Match) **model.StringMatch { return &m.Authority },
	}
	lists := map[string]func(*model.Match) *[]model.KeyMatch{
		"headers.x":     func(m *model.Match) *[]model.KeyMatch { return &m.Headers },
		"queryParams.x": func(m *model.Match) *[]model.KeyMatch { return &m.QueryParams },
	}
	for _, c := range cases {
		for field, at := range fields {
			var root, child, want model.Match
			*at(&root), *at(&child), *at(&want) = c.root, c.child, c.want
			narrow(t, narrowCase{c.name + " of " + field, field, root, child, want, c.want != nil})
		}
		for field, at := range lists {
			var root, child, want model.Match
			*at(&root), *at(&child) = key("x", c.root), key("x", c.child)
			if c.want != nil {
				*at(&want) = key("x", c.want)
			}
			narrow(t, narrowCase{c.name + " of " + field, field, root, child, want, c.want != nil})
		}
	}
}

type narrowCase struct {
	name, field       string
	root, child, want model.Match
	fits              bool
}

func narrow(t *testing.T, c narrowCase) {
	t.Helper()
	got, problems := expand(delegating(c.root), rule(c.child))
	if c.fits {
		c.want.Field = "spec.http[0].match[0]"
		if len(problems) > 0 || len(got.HTTP) != 1 || !cmp.Equal([]model.Match{c.want}, got.HTTP[0].Matches) {
			t.Errorf("%s: got %+v and %v, want %+v", c.name, got.HTTP, problems, c.want)
		}
		return
	}
	if len(got.HTTP) != 0 || len(problems) != 1 {
		t.Errorf("%s: got %+v and %v, want a conflict", c.name, got.HTTP, problems)
		return
	}
	p := problems[0]
	if p.Object != ref("child") || p.Field != "spec.http[0].match[0]" || p.Reason != model.ReasonDelegateConflict ||
		!strings.Contains(p.Message, "its "+c.field+" is not within that of spec.http[0] of VirtualService shop/root") {
		t.Errorf("%s: the problem is %+v", c.name, p)
	}
}

func TestMatchesJoin(t *testing.T) {
	edge, other := model.GatewayRef{Namespace: "infra", Name: "edge"}, model.GatewayRef{Namespace: "infra", Name: "other"}
	for _, c := range []narrowCase{
		{"all of root where child is silent", "", model.Match{
			Name: "r", URI: prefix("/A"), IgnoreURICase: true, Scheme: exact("https"), Method: exact("GET"), Authority: exact("h"),
			Headers: key("x-a", exact("1")), QueryParams: key("q", exact("1")), WithoutHeaders: key("x-n", present()), Port: 443,
			Gateways: []model.GatewayRef{edge}, SourceLabels: map[string]string{"a": "b"}, SourceNamespace: "n", StatPrefix: "s",
		}, model.Match{}, model.Match{
			Name: "r", URI: prefix("/A"), IgnoreURICase: true, Scheme: exact("https"), Method: exact("GET"), Authority: exact("h"),
			Headers: key("x-a", exact("1")), QueryParams: key("q", exact("1")), WithoutHeaders: key("x-n", present()), Port: 443,
			Gateways: []model.GatewayRef{edge}, SourceLabels: map[string]string{"a": "b"}, SourceNamespace: "n", StatPrefix: "s",
		}, true},
		{
			"keys of both, sorted", "",
			model.Match{Name: "r", Headers: key("x-b", exact("1"))},
			model.Match{Name: "c", Headers: key("x-a", exact("1"))},
			model.Match{Name: "r-c", Headers: append(key("x-a", exact("1")), key("x-b", exact("1"))...)},
			true,
		},
		{
			"what may not be there adds up", "",
			model.Match{WithoutHeaders: key("x", prefix("a"))},
			model.Match{WithoutHeaders: key("x", exact("ab"))},
			model.Match{WithoutHeaders: append(key("x", prefix("a")), key("x", exact("ab"))...)},
			true,
		},
		{
			"labels of both", "",
			model.Match{SourceLabels: map[string]string{"a": "1"}},
			model.Match{SourceLabels: map[string]string{"b": "2"}},
			model.Match{SourceLabels: map[string]string{"a": "1", "b": "2"}},
			true,
		},
		{
			"fewer gateways", "",
			model.Match{Gateways: []model.GatewayRef{edge, other}},
			model.Match{Gateways: []model.GatewayRef{other}},
			model.Match{Gateways: []model.GatewayRef{other}},
			true,
		},
		{"mesh stays mesh", "", model.Match{MeshOnly: true}, model.Match{}, model.Match{MeshOnly: true}, true},
		{"case of the path", "ignoreUriCase", model.Match{URI: prefix("/a")}, model.Match{URI: prefix("/a"), IgnoreURICase: true}, model.Match{}, false},
		{"other port", "port", model.Match{Port: 80}, model.Match{Port: 443}, model.Match{}, false},
		{"other label", "sourceLabels", model.Match{SourceLabels: map[string]string{"a": "1"}}, model.Match{SourceLabels: map[string]string{"a": "2"}}, model.Match{}, false},
		{"other namespace", "sourceNamespace", model.Match{SourceNamespace: "a"}, model.Match{SourceNamespace: "b"}, model.Match{}, false},
		{"other gateway", "gateways", model.Match{Gateways: []model.GatewayRef{edge}}, model.Match{Gateways: []model.GatewayRef{other}}, model.Match{}, false},
		{"gateway under mesh", "gateways", model.Match{MeshOnly: true}, model.Match{Gateways: []model.GatewayRef{other}}, model.Match{}, false},
	} {
		narrow(t, c)
	}
}

func TestMatchesOfBothSides(t *testing.T) {
	a, b := model.Match{URI: prefix("/a")}, model.Match{URI: prefix("/b")}
	at := func(field string, s *model.StringMatch) model.Match { return model.Match{Field: field, URI: s} }
	for _, c := range []struct {
		name     string
		root     []model.Match
		child    []model.Match
		want     []model.Match
		problems int
	}{
		{"neither has one", nil, nil, nil, 0},
		{"only the child", nil, []model.Match{a}, []model.Match{at("spec.http[0].match[0]", prefix("/a"))}, 0},
		{"only the root", []model.Match{a, b}, nil, []model.Match{at("spec.http[0]", prefix("/a")), at("spec.http[0]", prefix("/b"))}, 0},
		{
			"one of two fits, the other is left out",
			[]model.Match{a},
			[]model.Match{{URI: exact("/b")}, {URI: exact("/ab")}},
			[]model.Match{at("spec.http[0].match[1]", exact("/ab"))},
			1,
		},
		{"a match in each of the root's", []model.Match{a, b}, []model.Match{{Method: exact("GET")}}, []model.Match{
			{Field: "spec.http[0].match[0]", URI: prefix("/a"), Method: exact("GET")},
			{Field: "spec.http[0].match[0]", URI: prefix("/b"), Method: exact("GET")},
		}, 0},
	} {
		got, problems := expand(delegating(c.root...), rule(c.child...))
		if len(problems) != c.problems || len(got.HTTP) != 1 || !cmp.Equal(c.want, got.HTTP[0].Matches) {
			t.Errorf("%s: got %+v and %v", c.name, got.HTTP, problems)
		}
	}
}

func TestInheritance(t *testing.T) {
	one, two := time.Second, 2*time.Second
	set := func(v string) model.HeaderOperations { return model.HeaderOperations{SetAuthority: v} }
	full := func(v string, d *time.Duration) model.HTTPRule {
		return model.HTTPRule{
			Field: "spec.http[0]", Name: v, Rewrite: &model.Rewrite{URI: v}, Headers: set(v), Timeout: d,
			Retries: &model.Retries{PerTryTimeout: d}, Inject: &model.FaultInjection{Delay: &model.FaultDelay{Fixed: *d}},
			Mirrors: []model.Mirror{{Field: "spec.http[0].mirrors[0]", Destination: model.Destination{Host: v}}},
			CORS:    &model.CORSPolicy{AllowMethods: []string{v}},
		}
	}
	root, child := full("root", &one), full("child", &two)
	root.Delegate = &model.Delegate{Namespace: "shop", Name: "child"}

	want := child
	want.Owner, want.Name = ref("child"), "root-child"
	got, problems := expand(root, child)
	if diff := cmp.Diff([]model.HTTPRule{want}, got.HTTP); diff != "" || len(problems) > 0 {
		t.Errorf("what the child says counts (-want +got):\n%s%v", diff, problems)
	}

	want = full("root", &one)
	want.Owner, want.Redirect = ref("child"), &model.Redirect{Authority: "x"}
	want.Mirrors = []model.Mirror{{Field: "spec.http[0].mirror", Destination: model.Destination{Host: "root"}}}
	got, problems = expand(root, model.HTTPRule{Field: "spec.http[0]", Redirect: &model.Redirect{Authority: "x"}})
	if diff := cmp.Diff([]model.HTTPRule{want}, got.HTTP); diff != "" || len(problems) > 0 {
		t.Errorf("what it does not say is the root's (-want +got):\n%s%v", diff, problems)
	}
	if root.Delegate == nil || root.Mirrors[0].Field != "spec.http[0].mirrors[0]" || got.HTTP[0].Delegate != nil {
		t.Error("the root itself was changed")
	}
}

func TestWhatCannotBeDelegated(t *testing.T) {
	elsewhere := delegating(model.Match{URI: prefix("/a")})
	elsewhere.Delegate = &model.Delegate{Namespace: "team", Name: "hidden"}
	again := delegating()
	unmatchable := rule()
	unmatchable.Matches = []model.Match{{Fault: &model.RuleFault{Reason: model.ReasonInvalidValue}}}
	unread := delegating()
	unread.Matches = []model.Match{{Fault: &model.RuleFault{Reason: model.ReasonInvalidRegex}}}
	faulty := delegating()
	faulty.Fault = &model.RuleFault{Reason: model.ReasonNotYetSupported}
	for _, c := range []struct {
		name        string
		root, child model.HTTPRule
		fault       model.Reason // of the only rule, "" if its match has one
		problem     string       // "object field reason", "" if none
	}{
		{"missing or hidden", elsewhere, rule(), model.ReasonDelegateMissing, "root spec.http[0].delegate DelegateMissing"},
		{"two levels", delegating(), again, model.ReasonInvalidValue, "child spec.http[0].delegate InvalidValue"},
		{"the child's match cannot be read", delegating(), unmatchable, "", ""},
		{"the root's match cannot be read", unread, rule(), model.ReasonInvalidRegex, ""},
		{"root cannot be served", faulty, rule(), model.ReasonNotYetSupported, ""},
	} {
		got, problems := expand(c.root, c.child)
		said := ""
		for _, p := range problems {
			said += p.Object.Name + " " + p.Field + " " + string(p.Reason)
		}
		if said != c.problem {
			t.Errorf("%s: problems %v, want %q", c.name, problems, c.problem)
		}
		switch {
		case c.fault == "" && (len(got.HTTP) != 1 || len(got.HTTP[0].Matches) != 1 || got.HTTP[0].Matches[0].Fault == nil):
			t.Errorf("%s: got %+v, want the rule with a match that answers 500", c.name, got.HTTP)
		case c.fault == "":
		case len(got.HTTP) != 1 || got.HTTP[0].Fault == nil || got.HTTP[0].Fault.Reason != c.fault || got.HTTP[0].Delegate != nil:
			t.Errorf("%s: got %+v, want a rule that answers 500", c.name, got.HTTP)
		case !cmp.Equal(got.HTTP[0].Matches, c.root.Matches):
			t.Errorf("%s: it takes other requests than before: %+v", c.name, got.HTTP[0].Matches)
		}
	}
}

func TestSetWithHostsIsNoDelegate(t *testing.T) {
	root := &model.RouteSet{Meta: model.Meta{Ref: ref("root")}, HTTP: []model.HTTPRule{rule(), delegating(), rule()}}
	got, problems := delegate.Expand(root, func(model.Delegate) *model.RouteSet {
		return &model.RouteSet{Meta: model.Meta{Ref: ref("child")}, Hosts: []string{"b.org"}, HTTP: []model.HTTPRule{rule()}}
	})
	if len(problems) != 1 || problems[0].Reason != model.ReasonDelegateMissing || problems[0].Object != ref("root") {
		t.Errorf("problems %v", problems)
	}
	if len(got.HTTP) != 3 || got.HTTP[1].Fault == nil || got.HTTP[0].Fault != nil || got.HTTP[2].Fault != nil {
		t.Errorf("the neighbours do not stay: %+v", got.HTTP)
	}
}
