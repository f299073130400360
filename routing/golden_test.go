package routing_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/routing"
	"github.com/sluicegw/sluice/xds/sim"
)

var update = flag.Bool("update", false, "rewrite want.yaml and want.problems of the golden cases")

// goldens returns the golden files, at least one.
func goldens(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden cases: %v", err)
	}
	return files
}

func readArchive(t *testing.T, file string) *txtar.Archive {
	t.Helper()
	out, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// part returns a part of a golden file, with which it can be changed.
func part(t *testing.T, a *txtar.Archive, name string) *txtar.File {
	t.Helper()
	for i := range a.Files {
		if a.Files[i].Name == name {
			return &a.Files[i]
		}
	}
	t.Fatalf("there is no part %s", name)
	return nil
}

// TestGolden translates in.yaml and compares with want.yaml and want.problems,
// then plays the lines of calls: "METHOD URL [header=value]... => answer".
func TestGolden(t *testing.T) {
	for _, file := range goldens(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a := readArchive(t, file)
			vh, problems := routing.VirtualHost(readInput(t, part(t, a, "in.yaml").Data))
			if err := vh.ValidateAll(); err != nil {
				t.Errorf("Envoy would refuse the virtual host: %v", err)
			}
			wantHost, wantProblems := part(t, a, "want.yaml"), part(t, a, "want.problems")
			gotHost, gotProblems := asYAML(t, vh), asLines(problems)
			if *update {
				wantHost.Data, wantProblems.Data = gotHost, gotProblems
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(wantHost.Data), string(gotHost)); diff != "" {
				t.Errorf("virtual host differs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(string(wantProblems.Data), string(gotProblems)); diff != "" {
				t.Errorf("problems differ (-want +got):\n%s", diff)
			}
			play(t, vh, string(part(t, a, "calls").Data))
		})
	}
}

func asYAML(t *testing.T, m proto.Message) []byte {
	t.Helper()
	js, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out, err := yaml.JSONToYAML(js)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func asLines(problems []model.Problem) []byte {
	var out bytes.Buffer
	for _, p := range problems {
		fmt.Fprintf(&out, "%s %s %s %s\n  %s\n", p.Severity, p.Object, p.Field, p.Reason, p.Message)
	}
	return out.Bytes()
}

// play asks the simulated Envoy about every line of calls.
func play(t *testing.T, vh *routev3.VirtualHost, calls string) {
	t.Helper()
	rc := &routev3.RouteConfiguration{IgnorePortInHostMatching: true, VirtualHosts: []*routev3.VirtualHost{vh}}
	played := 0
	for line := range strings.Lines(calls) {
		request, want, ok := strings.Cut(strings.TrimSpace(line), " => ")
		if !ok {
			t.Fatalf("call %q is not: METHOD URL [header=value]... => answer", line)
		}
		if got := describe(sim.Routes(rc, readRequest(t, request))); got != want {
			t.Errorf("%s\n got %s\nwant %s", request, got, want)
		}
		played++
	}
	if played == 0 {
		t.Error("nothing is called")
	}
}

func readRequest(t *testing.T, text string) sim.Request {
	t.Helper()
	words := strings.Fields(text)
	scheme, rest, ok := strings.Cut(words[1], "://")
	if !ok {
		t.Fatalf("%q has no URL", text)
	}
	host, path, _ := strings.Cut(rest, "/")
	out := sim.Request{Method: words[0], Scheme: scheme, Host: host, Path: "/" + path, Headers: map[string]string{}}
	for _, w := range words[2:] {
		name, value, _ := strings.Cut(w, "=")
		out.Headers[name] = value
	}
	return out
}

// describe writes an answer in one line: "STATUS LOCATION", "STATUS reason", or
// "cluster:weight,... host path", and behind it what comes with it.
func describe(a sim.Answer) string {
	out := outcome(a)
	for _, name := range slices.Sorted(maps.Keys(a.Mirrors)) {
		out += fmt.Sprintf(" mirror=%s:%d", name, a.Mirrors[name])
	}
	if f := a.Fault; f != nil {
		out += fmt.Sprintf(" delay=%s:%d abort=%d:%d grpc=%t", f.Delay, f.DelayShare, f.Status, f.AbortShare, f.GRPC)
	}
	if a.CORS {
		out += " cors"
	}
	if a.StatPrefix != "" {
		out += " stats=" + a.StatPrefix
	}
	return out
}

func outcome(a sim.Answer) string {
	switch {
	case a.Unsupported != "":
		return "unsupported " + a.Unsupported
	case a.Location != "":
		return fmt.Sprintf("%d %s", a.Status, a.Location)
	case a.Status != 0:
		return strings.TrimSpace(fmt.Sprintf("%d %s", a.Status, a.ResponseHeaders[model.HeaderReason]))
	}
	var clusters []string
	for _, name := range a.ClusterNames() {
		c := fmt.Sprintf("%s:%d", name, a.Clusters[name])
		if host := a.Hosts[name]; host != "" {
			c += "@" + host
		}
		clusters = append(clusters, c)
	}
	return fmt.Sprintf("%s %s %s", strings.Join(clusters, ","), a.Host, a.Path)
}
