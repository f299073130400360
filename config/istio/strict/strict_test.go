package strict

import (
	"strings"
	"testing"

	"github.com/sluicegw/sluice/model"
)

func TestNearest(t *testing.T) {
	words := []string{"match", "route", "tls", "httpsRedirect", "withoutHeaders"}
	for word, want := range map[string]string{
		"matches": "match", "Match": "match", "tsl": "tls", "rout": "route", "https_redirect": "httpsRedirect",
		"zzz": "", "x": "", "": "", strings.Repeat("match", 1000): "",
	} {
		if got := Nearest(word, words); got != want {
			t.Errorf("nearest(%.20q) = %q, want %q", word, got, want)
		}
	}
}

func TestPath(t *testing.T) {
	at := Root("spec").Field("http").Element(3).Field("headers")
	for want, p := range map[string]*Path{
		"":                             Root(""),
		"spec.http[3].headers":         at,
		"spec.http[3].headers[x.y]":    at.Entry("x.y"),
		`spec.http[3].headers["a\nb"]`: at.Entry("a\nb"),
		`spec.http[3].headers["a]"].x`: at.Entry("a]").Field("x"),
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
		r := New(model.Meta{})
		rule := Root("spec").Field("http").Element(0)
		r.Fail(rule.Field("headers").Entry(key), Invalid("bad"))
		if r.Broken(rule) != model.ReasonInvalidValue || r.Broken(rule.Field("headers")) != model.ReasonInvalidValue {
			t.Errorf("key %q: the rule does not know of the fault", key)
		}
		if r.Any(rule.Field("match")) {
			t.Errorf("key %q: the fault reached the matches", key)
		}
	}
}
