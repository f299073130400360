package model

import (
	"regexp"
	"slices"
	"testing"
	"time"
)

func TestOlder(t *testing.T) {
	seen := func(n uint64, m *Meta) *Meta {
		m.Seen = n
		return m
	}
	at := func(sec int64, path string, index int, name string) *Meta {
		m := &Meta{Order: Order{path, index}, Ref: Ref{Namespace: "d", Name: name}}
		if sec > 0 {
			m.Created = time.Unix(sec, 0)
		}
		return m
	}
	want := []*Meta{
		at(0, "a", 0, "z"), at(0, "a", 1, "a"), at(0, "b", 0, "a"), // without a time: by place
		at(1, "", 0, "b"), at(2, "", 0, "a"), at(2, "", 0, "c"), // then by time, then by name
		// what came later never wins, whatever it is called and says of itself
		seen(1, at(0, "b", 0, "z")), seen(1, at(1, "a", 0, "a")), seen(2, at(0, "a", 0, "a")), seen(2, at(0, "b", 0, "a")),
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, func(a, b *Meta) int { return a.Compare(b) })
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("place %d: %v, want %v", i, *got[i], *want[i])
		}
		if i > 0 && !want[i-1].Older(want[i]) {
			t.Errorf("%v is not older than %v", *want[i-1], *want[i])
		}
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{ClusterName(Destination{Host: "r.svc", Subset: "v1", Port: 80}), "outbound|80|v1|r.svc"},
		{StatName("outbound|80|v1|r.svc"), "outbound;80;v1;r_svc"},
		{ListenerName(Bind{AnyAddress, 80}), "0.0.0.0_80"},
		{Table{Bind: Bind{AnyAddress, 80}}.Name(), "http.80"},
		{Table{Bind: Bind{"127.0.0.1", 443}, TLS: true, Policy: "p"}.Name(), "https.443.127.0.0.1.p"},
		{ScopeName("http.80", "*.a"), "http.80/*.a"},
		{Bind{"::1", 80}.String(), "[::1]:80"},
		{SecretName(Credential{Namespace: "ns", Name: "n"}, true), "secret/ns/n/ca"},
		{Ref{Kind: "Gateway", Namespace: "a", Name: "b"}.String(), "Gateway a/b"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestVisibility(t *testing.T) {
	for _, c := range []struct {
		v    Visibility
		want bool
	}{{nil, true}, {Visibility{}, false}, {Visibility{"a"}, true}, {Visibility{"b"}, false}} {
		if got := c.v.Shows("a"); got != c.want {
			t.Errorf("%#v shows to a: %v", c.v, got)
		}
	}
}

func TestDynamicAuthority(t *testing.T) {
	web := DynamicTarget{Host: "*.a.test", Port: 80}
	odd := DynamicTarget{Host: "b.test", Port: 8080}
	for _, c := range []struct {
		target    DynamicTarget
		authority string
		want      bool
	}{
		{web, "x.a.test", true},
		{web, "X.y.A.test:80", true},
		{web, "x.a.test:81", false},
		{web, "a.test", false},
		{web, "xa.test", false},
		{web, "evil.test:80.a.test", false},
		{web, "x.aatest", false},
		{odd, "b.test:8080", true},
		{odd, "b.test", true},
		{odd, "b.test:80", false},
		{odd, "x.b.test:8080", false},
	} {
		if got := regexp.MustCompile("^(?:" + c.target.Authority() + ")$").MatchString(c.authority); got != c.want {
			t.Errorf("%v takes %s: %v, want %v", c.target, c.authority, got, c.want)
		}
	}
}

func TestCovering(t *testing.T) {
	for host, want := range map[string][]string{
		"a.b.test": {"a.b.test", "*.b.test", "*.test", "*"},
		"*.b.test": {"*.b.test", "*.test", "*"},
		"test":     {"test", "*"},
		"*":        {"*"},
	} {
		if got := slices.Collect(Covering(host)); !slices.Equal(got, want) {
			t.Errorf("%s is covered by %q, want %q", host, got, want)
		}
	}
	for name := range Covering("a.b.test") {
		if !Covers(name, "a.b.test") {
			t.Errorf("%q does not cover", name)
		}
	}
}
