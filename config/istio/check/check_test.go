package check

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
		if f := Regex(c.expression); f != nil {
			got = f.Reason
		}
		if got != c.want {
			t.Errorf("Regex(%.40q) = %q, want %q", c.expression, got, c.want)
		}
	}
}

func TestSubstitution(t *testing.T) {
	for text, good := range map[string]bool{
		"": true, "/x": true, `\0`: true, `\1\2`: true, `\\`: true, `\\3`: true,
		`\3`: false, `\`: false, `\x`: false, "a\r": false,
	} {
		if wrong := Substitution(text, 2); (wrong == nil) != good {
			t.Errorf("Substitution(%q, 2) = %v, want good: %t", text, wrong, good)
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
		if wrong := HeaderValue(value); (wrong == nil) != good {
			t.Errorf("HeaderValue(%.40q) = %v, want good: %t", value, wrong, good)
		}
	}
}

func TestHeaderName(t *testing.T) {
	for name, good := range map[string]bool{
		"x": true, "X-Y_z.1": true, "!#$%&'*+-.^_`|~": true, strings.Repeat("x", 16384): true,
		"": false, "a b": false, "a:b": false, ":path": false, "a\n": false, "é": false, "a/b": false, strings.Repeat("x", 16385): false,
	} {
		if wrong := HeaderName(name); (wrong == nil) != good {
			t.Errorf("HeaderName(%.40q) = %v, want good: %t", name, wrong, good)
		}
	}
}

func TestName(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	long := strings.Repeat(label63+".", 3)
	for _, c := range []struct {
		host string
		form Form
		want string // "" means refused
	}{
		{"A.Example.com.", Form{}, "a.example.com"},
		{"_acme.example.com", Form{}, "_acme.example.com"},
		{label63, Form{}, label63},
		{label63 + "a", Form{}, ""},
		{long + strings.Repeat("a", 61), Form{}, long + strings.Repeat("a", 61)},
		{long + strings.Repeat("a", 62), Form{}, ""},
		{"a-.com", Form{}, ""},
		{"a..com", Form{}, ""},
		{".", Form{}, ""},
		{"a.1", Form{}, ""},
		{"123", Form{}, "123"},
		{"*", Form{}, ""},
		{"*.a", Form{}, ""},
		{"*", Form{Wildcard: true}, "*"},
		{"*.a", Form{Wildcard: true}, "*.a"},
		{"*.", Form{Wildcard: true}, "*"},
		{"*.*.a", Form{Wildcard: true}, ""},
		{"a*.b", Form{Wildcard: true}, ""},
		{"10.0.0.1", Form{}, ""},
		{"10.0.0.1", Form{IP: true}, "10.0.0.1"},
		{"0:0::1", Form{IP: true}, "::1"},
		{"fe80::1%eth0", Form{IP: true}, ""},
		{"a.com:80", Form{IP: true}, ""},
		{"bücher.de", Form{}, ""},
		{"a\nb", Form{}, ""},
	} {
		got, wrong := ParseName(c.host, c.form)
		if wrong != nil {
			got = ""
		}
		if got != c.want {
			t.Errorf("ParseName(%q, %+v) = %q (%v), want %q", c.host, c.form, got, wrong, c.want)
		}
	}
}

func TestAuthority(t *testing.T) {
	for s, good := range map[string]bool{
		"a.example.com": true, "A:80": true, "[::1]:80": true, "10.0.0.1": true,
		"": false, "a b": false, "a/b": false, "a@b": false, "a\r\n": false, strings.Repeat("a", 262): false,
	} {
		if wrong := Authority(s); (wrong == nil) != good {
			t.Errorf("Authority(%.40q) = %v, want good: %t", s, wrong, good)
		}
	}
}
