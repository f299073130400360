package file

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicegw/sluice/model"
)

func TestLocate(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	write(t, a, `# first
---
apiVersion: v1
kind: Service
metadata:
  name: s
---
apiVersion: networking.istio.io/v1
kind: List
items:
- apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata:
    name: v
    annotations:
      x.y/z: one
      plain: two
  spec:
    hosts: [a, b]
    http:
    - match: &m
      - uri: {prefix: /}
      route:
      - destination:
          host: s
      - destination: {host: t}
        weight: 5
    - match: *m
`)
	write(t, filepath.Join(dir, "b.json"), "{\"apiVersion\": \"v1\",\n \"kind\": \"Service\",\n \"metadata\": {\n  \"name\": \"j\"},\n \"spec\": {\"ports\": [\n  {\"port\": 1},\n  {\"port\": 2}]}}")
	src := New(Options{Dirs: []string{dir}})
	st, err := src.Load()
	must(t, err)
	if len(st.Upserts) != 3 || len(st.Problems) != 0 || !st.Synced {
		t.Fatalf("step %+v", st)
	}
	service := model.Ref{Kind: "Service", Namespace: "default", Name: "s"}
	virtual := model.Ref{Group: "networking.istio.io", Kind: "VirtualService", Namespace: "default", Name: "v"}
	inJSON := model.Ref{Kind: "Service", Namespace: "default", Name: "j"}
	for _, tc := range []struct {
		obj   model.Ref
		field string
		want  string
	}{
		{service, "", "a.yaml:3"},
		{service, "metadata.name", "a.yaml:6"},
		{service, "spec.ports[0].name", "a.yaml:3"},
		{virtual, "", "a.yaml:11"},
		{virtual, "spec", "a.yaml:18"},
		{virtual, "spec.hosts[1]", "a.yaml:19"},
		{virtual, "spec.http[0].route[1].weight", "a.yaml:27"},
		{virtual, "spec.http[0].route[1].destination.port.number", "a.yaml:26"},
		{virtual, "spec.http[0].route[0].destination.host", "a.yaml:25"},
		{virtual, "spec.http[0].route[7].weight", "a.yaml:23"},
		{virtual, "spec.http[1].match[0].uri.prefix", "a.yaml:22"},
		{virtual, `metadata.annotations["x.y/z"]`, "a.yaml:16"},
		{virtual, `metadata.annotations['x.y/z']`, "a.yaml:16"},
		{virtual, "metadata.annotations.plain", "a.yaml:17"},
		{virtual, "metadata.annotations[", "a.yaml:15"},
		{virtual, "metadata..name", "a.yaml:13"},
		{inJSON, "spec.ports[1].port", "b.json:7"},
		{inJSON, "metadata.name", "b.json:4"},
		{model.Ref{Kind: "File", Name: "x/y.yaml"}, "", "y.yaml:0"},
		{model.Ref{Kind: "Service", Namespace: "default", Name: "unknown"}, "", ".:0"},
	} {
		p := src.Locate(tc.obj, tc.field)
		if got := fmt.Sprintf("%s:%d", filepath.Base(p.File), p.Line); got != tc.want {
			t.Errorf("%s %s: %s, want %s", tc.obj, tc.field, got, tc.want)
		}
	}

	write(t, a, "# moved\n# down\napiVersion: v1\nkind: Service\nmetadata: {name: s}\n")
	if p := src.Locate(service, "metadata.name"); p.Line != 5 {
		t.Errorf("after an edit: %+v", p)
	}
	if p := src.Locate(virtual, "spec.http"); p.Line != 11 {
		t.Errorf("an object that is no longer in the file: %+v", p)
	}
	must(t, os.Remove(a))
	if p := src.Locate(service, "metadata.name"); p.Line != 3 || p.File != a {
		t.Errorf("without the file: %+v", p)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f.yaml"), object("f", "1"))
	for _, missing := range []string{filepath.Join(dir, "no"), filepath.Join(dir, "f.yaml")} {
		if _, err := Load(Options{Dirs: []string{dir, missing}}); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("%s: error %v", missing, err)
		}
	}
	write(t, filepath.Join(dir, "g.yaml"), strings.Repeat("#", 100)+"\n"+object("g", "1"))
	st, err := Load(Options{Dirs: []string{dir}, MaxFileBytes: 100})
	must(t, err)
	if len(st.Upserts) != 1 || len(st.Problems) != 1 || st.Problems[0].Reason != model.ReasonUnreadableFile || st.At.IsZero() {
		t.Errorf("step %+v", st)
	}
	// Where the folder lies and how it is named does not matter to the hashes.
	t.Chdir(dir)
	here, err := Load(Options{Dirs: []string{"."}})
	must(t, err)
	if here.Upserts[0].Hash != st.Upserts[0].Hash {
		t.Errorf("hash %x by one name, %x by another", st.Upserts[0].Hash, here.Upserts[0].Hash)
	}
}
