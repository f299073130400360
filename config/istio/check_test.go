package istio

import (
	"strings"
	"testing"

	"github.com/sluicegw/sluice/model"
)

func TestRegex(t *testing.T) {
	for _, c := range []struct {
		expression string
		want       model.Reason
	}{
		{"", ""},
		{"/a/.*", ""},
		{`(?i)/a\d+(/[^/]+){0,5}`, ""},
		{`\pL+`, ""},
		{strings.Repeat("a", 1024), ""},
		{"[a-z]{1000}", ""},
		{strings.Repeat("a", 1025), model.ReasonInvalidRegex},
		{`\x{e9}\xe9`, ""},
		{`\\x{100}`, ""}, // a backslash, then a hundred x
		{`\x{100}`, model.ReasonInvalidRegex},
		{"é", model.ReasonInvalidRegex},
		{"[é]", model.ReasonInvalidRegex},
		{"\\", model.ReasonInvalidRegex},
		{"a(", model.ReasonInvalidRegex},
		{"(?=x)", model.ReasonInvalidRegex},
		{`(a)\1`, model.ReasonInvalidRegex},
		{"a{1001}", model.ReasonInvalidRegex},
		{"((a{100}){100}){100}", model.ReasonInvalidRegex},
		{`\pL{1000}`, model.ReasonInvalidRegex},
		{"(" + strings.Repeat("a{0,900}", 100) + "){0,1}", model.ReasonInvalidRegex},
		{strings.Repeat("(", 400) + strings.Repeat(")", 400), ""},
	} {
		got := model.Reason("")
		if f := checkRegex(c.expression); f != nil {
			got = f.reason
		}
		if got != c.want {
			t.Errorf("checkRegex(%.40q) = %q, want %q", c.expression, got, c.want)
		}
	}
}

func TestSubstitution(t *testing.T) {
	for text, good := range map[string]bool{
		"": true, "/x": true, `\0`: true, `\1\2`: true, `\\`: true, `\\3`: true,
		`\3`: false, `\`: false, `\x`: false, "a\r": false,
	} {
		if wrong := checkSubstitution(text, 2); (wrong == nil) != good {
			t.Errorf("checkSubstitution(%q, 2) = %v, want good: %t", text, wrong, good)
		}
	}
}

func TestHeaderValue(t *testing.T) {
	for value, good := range map[string]bool{
		"": true, "plain": true, "tab\there": true, "ünï": true, "100%%": true,
		"%PROTOCOL%": true, "a %PROTOCOL%%% b": true, "%REQ(x)%": true, "%REQ(x?:path):5%": true,
		"%START_TIME%": true, "%START_TIME(%Y/%m)%": true, "%DYNAMIC_METADATA(a:b)%": true, "%QUERY_PARAM(q)%": true,
		strings.Repeat("x", 16384): true,

		"100%": false, "%": false, "%%%": false, "%NOPE%": false, "%PROTOCOL": false, "%PROTOCOL(x)%": false,
		"%PROTOCOL:3%": false, "%REQ%": false, "%REQ()%": false, "%REQ(a b)%": false, "%REQ(a?)%": false, "%REQ(a%": false,
		"%REQ(a):%": false, "%START_TIME(x):5%": false, "%REQ(a):x%": false, "%REQ(a)": false, "%ENVIRONMENT(HOME)%": false, "%CEL(1)%": false,
		"%DYNAMIC_METADATA()%": false, "a\nb": false, "a\rb": false, "a\x00b": false, "a\x7fb": false,
		strings.Repeat("x", 16385): false,
	} {
		if wrong := checkHeaderValue(value); (wrong == nil) != good {
			t.Errorf("checkHeaderValue(%.40q) = %v, want good: %t", value, wrong, good)
		}
	}
}

func TestHeaderName(t *testing.T) {
	for name, good := range map[string]bool{
		"x": true, "X-Y_z.1": true, "!#$%&'*+-.^_`|~": true, strings.Repeat("x", 16384): true,
		"": false, "a b": false, "a:b": false, ":path": false, "a\n": false, "é": false, "a/b": false, strings.Repeat("x", 16385): false,
	} {
		if wrong := checkHeaderName(name); (wrong == nil) != good {
			t.Errorf("checkHeaderName(%.40q) = %v, want good: %t", name, wrong, good)
		}
	}
}

func TestName(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	long := strings.Repeat(label63+".", 3)
	for _, c := range []struct {
		host string
		form nameForm
		want string // "" means refused
	}{
		{"A.Example.com.", nameForm{}, "a.example.com"},
		{"_acme.example.com", nameForm{}, "_acme.example.com"},
		{label63, nameForm{}, label63},
		{label63 + "a", nameForm{}, ""},
		{long + strings.Repeat("a", 61), nameForm{}, long + strings.Repeat("a", 61)},
		{long + strings.Repeat("a", 62), nameForm{}, ""},
		{"a-.com", nameForm{}, ""},
		{"a..com", nameForm{}, ""},
		{".", nameForm{}, ""},
		{"a.1", nameForm{}, ""},
		{"123", nameForm{}, "123"},
		{"*", nameForm{}, ""},
		{"*.a", nameForm{}, ""},
		{"*", nameForm{wildcard: true}, "*"},
		{"*.a", nameForm{wildcard: true}, "*.a"},
		{"*.", nameForm{wildcard: true}, "*"},
		{"*.*.a", nameForm{wildcard: true}, ""},
		{"a*.b", nameForm{wildcard: true}, ""},
		{"10.0.0.1", nameForm{}, ""},
		{"10.0.0.1", nameForm{ip: true}, "10.0.0.1"},
		{"0:0::1", nameForm{ip: true}, "::1"},
		{"fe80::1%eth0", nameForm{ip: true}, ""},
		{"a.com:80", nameForm{ip: true}, ""},
		{"bücher.de", nameForm{}, ""},
		{"a\nb", nameForm{}, ""},
	} {
		got, wrong := parseName(c.host, c.form)
		if wrong != nil {
			got = ""
		}
		if got != c.want {
			t.Errorf("parseName(%q, %+v) = %q (%v), want %q", c.host, c.form, got, wrong, c.want)
		}
	}
}

func TestAuthority(t *testing.T) {
	for s, good := range map[string]bool{
		"a.example.com": true, "A:80": true, "[::1]:80": true, "10.0.0.1": true,
		"": false, "a b": false, "a/b": false, "a@b": false, "a\r\n": false, strings.Repeat("a", 262): false,
	} {
		if wrong := checkAuthority(s); (wrong == nil) != good {
			t.Errorf("checkAuthority(%.40q) = %v, want good: %t", s, wrong, good)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"match", "route", "tls", "httpsRedirect", "withoutHeaders"}
	for word, want := range map[string]string{
		"matches": "match", "Match": "match", "tsl": "tls", "rout": "route", "https_redirect": "httpsRedirect",
		"zzz": "", "x": "", "": "", strings.Repeat("match", 1000): "",
	} {
		if got := nearest(word, words); got != want {
			t.Errorf("nearest(%.20q) = %q, want %q", word, got, want)
		}
	}
}

func TestPath(t *testing.T) {
	at := root("spec").field("http").element(3).field("headers")
	for want, p := range map[string]*path{
		"":                             root(""),
		"spec.http[3].headers":         at,
		"spec.http[3].headers[x.y]":    at.entry("x.y"),
		`spec.http[3].headers["a\nb"]`: at.entry("a\nb"),
		`spec.http[3].headers["a]"].x`: at.entry("a]").field("x"),
	} {
		if got := p.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestHostileKey shows that a fault below a map key reaches its rule, however
// the key looks.
func TestHostileKey(t *testing.T) {
	for _, key := range []string{"a]", "a].match[0]", "[", "].b.c", "\n"} {
		r := &reader{faults: map[string]fault{}}
		rule := root("spec").field("http").element(0)
		r.fail(rule.field("headers").entry(key), invalid("bad"))
		if r.broken(rule) != model.ReasonInvalidValue || r.broken(rule.field("headers")) != model.ReasonInvalidValue {
			t.Errorf("key %q: the rule does not know of the fault", key)
		}
		if r.any(rule.field("match")) {
			t.Errorf("key %q: the fault reached the matches", key)
		}
	}
}

func TestLargeValues(t *testing.T) {
	rule := func(action string) string {
		return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x, namespace: shop}\n" +
			"spec:\n  hosts: [a.example.com]\n  gateways: [gw]\n  http:\n  - " + action + "\n"
	}
	headers := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString("h" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26) + `: "1", `)
		}
		return "{route: [{destination: {host: b.c}}], headers: {response: {add: {" + b.String() + "}}}}"
	}
	for name, c := range map[string]struct {
		action string
		fault  bool
	}{
		"body of 1 MiB":        {"directResponse: {status: 200, body: {string: " + strings.Repeat("a", 1<<20) + "}}", false},
		"body beyond 1 MiB":    {"directResponse: {status: 200, body: {string: " + strings.Repeat("a", 1<<20+1) + "}}", true},
		"1,000 added headers":  {headers(1000), false},
		"1,001 added headers":  {headers(1001), true},
		"duration of a year":   {"{timeout: 8760h, route: [{destination: {host: b.c}}]}", false},
		"duration of nothing":  {"{timeout: \"\", route: [{destination: {host: b.c}}]}", true},
		"header beyond 16 KiB": {"{headers: {request: {set: {a: " + strings.Repeat("a", 16385) + "}}}, route: [{destination: {host: b.c}}]}", true},
	} {
		value, problems := decodeObject(t, object(t, []byte(rule(c.action))))
		routes, ok := value.(*model.RouteSet)
		if !ok || len(routes.HTTP) != 1 {
			t.Fatalf("%s: no rule, problems %v", name, problems)
		}
		if got := routes.HTTP[0].Fault != nil; got != c.fault || got != (len(problems) > 0) {
			t.Errorf("%s: fault %t, want %t; problems %v", name, got, c.fault, problems)
		}
	}
}
