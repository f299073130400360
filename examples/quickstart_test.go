// Package examples holds what newcomers run first. It has no code of its own:
// these tests see to it that the folders compile without a problem and that what
// they tell a reader to try does what they say.
package examples

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/compile"
	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/config/file"
	"github.com/sluicegw/sluice/config/istio"
	"github.com/sluicegw/sluice/discovery/kube"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/xds/sim"
)

// quickstart compiles the folder and returns the one route table.
func quickstart(t *testing.T) *routev3.RouteConfiguration {
	t.Helper()
	step, err := file.New(file.Options{Dirs: []string{"quickstart"}}).Load()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[config.GroupKind]config.Kind{}
	maps.Copy(kinds, istio.Kinds())
	maps.Copy(kinds, kube.Kinds())
	result := compile.New(compile.Options{Kinds: kinds, ScopedAbove: 256}).Apply(step)
	for _, p := range step.Problems {
		t.Errorf("problem: %+v", p)
	}
	for _, r := range result.Reports {
		for _, p := range r.Problems {
			t.Errorf("problem: %+v", p)
		}
	}
	for _, r := range result.Change.Upserts {
		if r.Type != model.TypeRoute {
			continue
		}
		rc := new(routev3.RouteConfiguration)
		if err := proto.Unmarshal(r.Bytes, rc); err != nil {
			t.Fatal(err)
		}
		return rc
	}
	t.Fatal("no route table")
	return nil
}

const (
	v1    = "outbound|80|v1|shop.internal"
	v2    = "outbound|80|v2|shop.internal"
	admin = "outbound|80||admin.internal"
)

func TestQuickstartRoutes(t *testing.T) {
	routes := quickstart(t)
	for _, c := range []struct {
		request  sim.Request
		status   uint32
		clusters map[string]uint32
		path     string // as the destination sees it
		location string
	}{
		{request: sim.Request{Host: "shop.example.com"}, clusters: map[string]uint32{v1: 90, v2: 10}, path: "/"},
		{request: sim.Request{Host: "shop.example.com", Headers: map[string]string{"x-version": "v2"}}, clusters: map[string]uint32{v2: 1}, path: "/"},
		{request: sim.Request{Host: "shop.example.com", Path: "/api/items"}, clusters: map[string]uint32{v1: 1}, path: "/v1/items"},
		{request: sim.Request{Host: "shop.example.com", Path: "/hours"}, status: 200},
		{request: sim.Request{Host: "admin.example.com:8080", Path: "/users"}, clusters: map[string]uint32{admin: 1}, path: "/users"},
		{request: sim.Request{Host: "old-shop.test", Path: "/cart"}, status: 301, location: "http://shop.example.com:8080/cart"},
		{request: sim.Request{Host: "example.com"}, status: 301, location: "http://shop.example.com:8080/"},
		{request: sim.Request{Host: "nobody.test"}, status: 404},
	} {
		got := sim.Routes(routes, c.request)
		if got.Status != c.status || !maps.Equal(got.Clusters, c.clusters) || got.Location != c.location ||
			c.path != "" && got.Path != c.path {
			t.Errorf("%+v\n got %+v\nwant %+v", c.request, got, c)
		}
	}
}

// Every line to try names a host and a path that something answers.
func TestQuickstartLinesToTry(t *testing.T) {
	routes := quickstart(t)
	text, err := os.ReadFile("quickstart/try.txt")
	if err != nil {
		t.Fatal(err)
	}
	header := regexp.MustCompile(`-H '([^:]+): ([^']*)'`)
	target := regexp.MustCompile(`http://127\.0\.0\.1:8080(/\S*)`)
	tried := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(strings.TrimSpace(line), "curl ") {
			continue
		}
		tried++
		r := sim.Request{Headers: map[string]string{}}
		for _, h := range header.FindAllStringSubmatch(line, -1) {
			if h[1] == "Host" {
				r.Host = h[2]
				continue
			}
			r.Headers[strings.ToLower(h[1])] = h[2]
		}
		path := target.FindStringSubmatch(line)
		if path == nil {
			t.Errorf("%q does not ask the gateway's port", line)
			continue
		}
		r.Path = path[1]
		if got := sim.Routes(routes, r); got.Status >= 400 || got.Status == 0 && len(got.Clusters) == 0 {
			t.Errorf("%q is answered with %+v", line, got)
		}
	}
	if tried != 3 {
		t.Errorf("%d lines to try, want 3", tried)
	}
}

// `make run` starts a backend on every port that the services name.
func TestQuickstartBackendsListen(t *testing.T) {
	services, err := os.ReadFile("quickstart/services.yaml")
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	ports := func(text []byte, pattern string) []string {
		var out []string
		for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
			out = append(out, string(m[1]))
		}
		slices.Sort(out)
		return out
	}
	named := ports(services, `http: (\d+)`)
	started := ports(makefile, `--listen \S+=127\.0\.0\.1:(\d+)`)
	if len(named) != 3 || !slices.Equal(named, started) {
		t.Errorf("the services name %v, make run starts %v", named, started)
	}
}
