package annotation

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegw/sluice/model"
)

func TestVisibility(t *testing.T) {
	for _, c := range []struct {
		words  string
		want   model.Visibility
		faults []int // indexes
	}{
		{"*", nil, nil},
		{"web,*", nil, nil},
		{"web,.,web,shop", model.Visibility{"shop", "web"}, nil},
		{"~", model.Visibility{}, nil},
		{"~,web", model.Visibility{"web"}, []int{0}},
		{"A,web,-b", model.Visibility{"web"}, []int{0, 2}},
		{"", model.Visibility{}, []int{0}},
	} {
		got, faults := ParseVisibility(strings.Split(c.words, ","), "shop")
		var indexes []int
		for _, f := range faults {
			indexes = append(indexes, f.Index)
		}
		if diff := cmp.Diff(c.want, got); diff != "" || !slices.Equal(c.faults, indexes) {
			t.Errorf("%s: faults at %v, want %v (-want +got)\n%s", c.words, indexes, c.faults, diff)
		}
	}
	if got, faults := ParseVisibility(nil, "shop"); got != nil || faults != nil {
		t.Errorf("no list: %v, %v; want all", got, faults)
	}
}

func TestProxyProtocol(t *testing.T) {
	trusted := func(prefixes ...string) *model.ProxyProtocolIn { return &model.ProxyProtocolIn{Trusted: prefixes} }
	for _, c := range []struct {
		text   string
		want   *model.ProxyProtocolIn
		faults int
	}{
		{"*", trusted(), 0},
		{" 10.1.2.3/8 ,fd00::1, 10.0.0.0/8", trusted("10.0.0.0/8", "fd00::1/128"), 0},
		{"10.0.0.0/8,*", trusted("10.0.0.0/8"), 1}, // not everybody
		{"", nil, 1},
		{"10.0.0.0/33", nil, 1},
		{"x, fe80::1%eth0", nil, 2},
		{"::ffff:10.0.0.0/104", nil, 1},
	} {
		got, faults := ParseProxyProtocol(c.text)
		if diff := cmp.Diff(c.want, got); diff != "" || len(faults) != c.faults {
			t.Errorf("%q: faults %q, want %d (-want +got)\n%s", c.text, faults, c.faults, diff)
		}
	}
}

func TestMaxConnections(t *testing.T) {
	for text, want := range map[string]uint32{"1": 1, "4294967295": 4294967295, "0": 0, "-1": 0, "4294967296": 0, "": 0, "1k": 0} {
		if got, fault := ParseMaxConnections(text); got != want || (fault == "") != (want > 0) {
			t.Errorf("%q: %d and fault %q, want %d", text, got, fault, want)
		}
	}
}

func TestHealthCheck(t *testing.T) {
	byDefault := model.HealthCheck{Interval: 5 * time.Second, Timeout: time.Second, Healthy: 2, Unhealthy: 3}
	http := byDefault
	http.Path = "/healthz?full=1"
	all := model.HealthCheck{Path: "/", Host: "x.example.com:80", Interval: time.Minute, Timeout: 100 * time.Millisecond, Healthy: 1, Unhealthy: 100}
	for text, want := range map[string]*model.HealthCheck{
		"tcp":                    &byDefault,
		"http:///healthz?full=1": &http,
		" http:///  interval=1m   timeout=100ms healthy=1 unhealthy=100 host=X.example.com:80": &all,
		"":                        nil,
		"http://":                 nil,
		"http://host/path":        nil,
		"https:///x":              nil,
		"http:///a#b":             nil,
		"interval=5s":             nil,
		"tcp interval":            nil,
		"tcp interval=5":          nil,
		"tcp interval=99ms":       nil,
		"tcp interval=61m":        nil,
		"tcp timeout=-1s":         nil,
		"tcp healthy=0":           nil,
		"tcp unhealthy=101":       nil,
		"tcp healthy=1 healthy=1": nil,
		"tcp host=x":              nil,
		"http:///x host=a/b":      nil,
		"http:///x host=":         nil,
		"http:///x method=GET":    nil,
		"http:///x tcp":           nil,
	} {
		got, faults := ParseHealthCheck(text)
		if diff := cmp.Diff(want, got); diff != "" || (len(faults) == 0) != (want != nil) {
			t.Errorf("%q: faults %q (-want +got)\n%s", text, faults, diff)
		}
	}
}

func TestTLS(t *testing.T) {
	for text, want := range map[string]Issuance{"auto": IssuanceAuto, "on-demand": IssuanceOnDemand, "": "", "Auto": "", "off": ""} {
		if got, fault := ParseTLS(text); got != want || (fault == "") != (want != "") {
			t.Errorf("tls %q: %q and fault %q, want %q", text, got, fault, want)
		}
	}
	for text, want := range map[string]struct {
		hosts  []string
		faults int
	}{
		"shop.test, *.Example.org,shop.test": {[]string{"shop.test", "*.example.org"}, 0},
		"shop.test, *":                       {[]string{"shop.test"}, 1}, // "*" would bound nothing
		"a*.test,, sho p.test":               {[]string{""}, 3},
	} {
		if hosts, faults := ParseTLSAllow(text); !slices.Equal(hosts, want.hosts) || len(faults) != want.faults {
			t.Errorf("allow %q: %q and faults %q, want %+v", text, hosts, faults, want)
		}
	}
	for text, want := range map[string]model.ChainLayout{"chains": model.ChainLayoutChains, "on-demand": model.ChainLayoutOnDemand, "": "", "auto": ""} {
		if got, fault := ParseTLSLayout(text); got != want || (fault == "") != (want != "") {
			t.Errorf("layout %q: %q and fault %q, want %q", text, got, fault, want)
		}
	}
	for text, want := range map[string][2]bool{"true": {true, true}, "false": {false, true}, "": {}, "yes": {}, "True": {}} {
		if got, fault := ParseHTTP3(text); got != want[0] || (fault == "") != want[1] {
			t.Errorf("http3 %q: %v and fault %q, want %v", text, got, fault, want)
		}
	}
}
