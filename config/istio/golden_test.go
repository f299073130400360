package istio

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden is one case of testdata: an object, what it means, and its problems.
type golden struct {
	file   string
	object config.Object
	want   map[string]string // "want.yaml" and "want.problems.txt"
}

// goldens returns all cases of testdata.
func goldens(t testing.TB) []golden {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	var out []golden
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		g := golden{file: file, want: map[string]string{}}
		for _, part := range archive.Files {
			if part.Name == "in.yaml" {
				g.object = object(t, part.Data)
			} else {
				g.want[part.Name] = string(part.Data)
			}
		}
		out = append(out, g)
	}
	return out
}

// object returns the object of a YAML document, as a source would.
func object(t testing.TB, document []byte) config.Object {
	t.Helper()
	text, err := yaml.YAMLToJSON(document)
	if err != nil {
		t.Fatalf("%v in\n%s", err, document)
	}
	var head struct {
		APIVersion string
		Kind       string
		Metadata   struct {
			Name, Namespace     string
			Labels, Annotations map[string]string
		}
	}
	if err := json.Unmarshal(text, &head); err != nil {
		t.Fatal(err)
	}
	group, _, _ := strings.Cut(head.APIVersion, "/")
	return config.Object{
		Meta: model.Meta{
			Ref:         model.Ref{Group: group, Kind: head.Kind, Namespace: head.Metadata.Namespace, Name: head.Metadata.Name},
			Labels:      head.Metadata.Labels,
			Annotations: head.Metadata.Annotations,
		},
		APIVersion: head.APIVersion,
		JSON:       text,
	}
}

func decodeObject(t testing.TB, o config.Object) (model.Value, []model.Problem) {
	t.Helper()
	kind, known := Kinds()[config.GroupKind{Group: o.Ref.Group, Kind: o.Ref.Kind}]
	if !known {
		t.Fatalf("no decoder for %s of group %q", o.Ref.Kind, o.Ref.Group)
	}
	return kind.Decode(o)
}

func TestGolden(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(strings.TrimSuffix(filepath.Base(g.file), ".txtar"), func(t *testing.T) {
			value, problems := decodeObject(t, g.object)
			got := map[string]string{
				"want.yaml":         dump(t, value),
				"want.problems.txt": dumpProblems(problems),
			}
			if *update {
				rewrite(t, g.file, got)
				return
			}
			if diff := cmp.Diff(g.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func rewrite(t *testing.T, file string, got map[string]string) {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	archive.Files = archive.Files[:1]
	for _, name := range []string{"want.yaml", "want.problems.txt"} {
		archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(got[name])})
	}
	if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
		t.Fatal(err)
	}
}

func dumpProblems(problems []model.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s %s %s: %s\n", p.Severity, p.Field, p.Reason, p.Message)
	}
	return b.String()
}

// dump writes what is set in a value as YAML.
func dump(t testing.TB, value model.Value) string {
	t.Helper()
	if value == nil {
		return "null\n"
	}
	shown := shown(reflect.ValueOf(value))
	text, err := json.Marshal(shown)
	if err != nil {
		t.Fatal(err)
	}
	out, err := yaml.JSONToYAML(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(out)) + "\n"
}

// shown returns a value as JSON knows it, without the fields that are zero and
// without the meta, which is the input's.
func shown(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		return shown(v.Elem())
	case reflect.Struct:
		out := map[string]any{}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Type == reflect.TypeFor[model.Meta]() || v.Field(i).IsZero() {
				continue
			}
			out[f.Name] = shown(v.Field(i))
		}
		return out
	case reflect.Slice:
		if b, ok := v.Interface().([]byte); ok {
			return string(b)
		}
		out := make([]any, v.Len())
		for i := range out {
			out[i] = shown(v.Index(i))
		}
		return out
	}
	switch x := v.Interface().(type) {
	case model.MatchKind:
		return [...]string{"exact", "prefix", "regex", "present"}[x]
	case fmt.Stringer:
		return x.String()
	}
	return v.Interface()
}
