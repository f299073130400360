package istio

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// The tests of this file hold the fields of the API against the literal list of
// testdata/fields.txt, so that none can be forgotten silently: every field is
// served or not yet, or waits for the mesh; every one that is served has a good and a bad case among
// the golden files, every one that is not is reported.

// fieldList returns the lines of testdata/fields.txt: a word, then the kind and
// the path of a field.
func fieldList(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "fields.txt"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, field, _ := strings.Cut(line, " ")
		if !slices.Contains([]string{"served", "not-yet", "mesh"}, word) {
			t.Fatalf("fields.txt: unknown word %q", word)
		}
		out[word] = append(out[word], field)
	}
	return out
}

func messages() map[string]protoreflect.MessageDescriptor {
	return map[string]protoreflect.MessageDescriptor{
		"Gateway":         (&networking.Gateway{}).ProtoReflect().Descriptor(),
		"VirtualService":  (&networking.VirtualService{}).ProtoReflect().Descriptor(),
		"DestinationRule": (&networking.DestinationRule{}).ProtoReflect().Descriptor(),
		"ServiceEntry":    (&networking.ServiceEntry{}).ProtoReflect().Descriptor(),
		"WorkloadEntry":   (&networking.WorkloadEntry{}).ProtoReflect().Descriptor(),
	}
}

// apiFields walks the descriptors down to the fields that stop says.
func apiFields(stop func(field string) bool) []string {
	var out []string
	var walk func(prefix string, m protoreflect.MessageDescriptor)
	walk = func(prefix string, m protoreflect.MessageDescriptor) {
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			field := prefix + "." + f.JSONName()
			out = append(out, field)
			if below := valueMessage(f); below != nil && !stop(field) {
				walk(field, below)
			}
		}
	}
	for kind, m := range messages() {
		walk(kind+" spec", m)
	}
	slices.Sort(out)
	return out
}

// valueMessage returns the message of a field, of its elements or entries; nil
// for scalars.
func valueMessage(f protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if f.IsMap() {
		f = f.MapValue()
	}
	if f.Message() == nil || strict.IsScalar(f.Message()) {
		return nil
	}
	return f.Message()
}

func TestEveryFieldIsListed(t *testing.T) {
	listed := fieldList(t)
	api := apiFields(func(field string) bool { return slices.Contains(listed["not-yet"], field) })
	all := slices.Concat(listed["served"], listed["not-yet"], listed["mesh"])
	slices.Sort(all)
	if diff := cmp.Diff(api, all); diff != "" {
		t.Errorf("fields of the API and of testdata/fields.txt differ (-api +list)\n%s", diff)
	}
}

func TestServedFieldsHaveCases(t *testing.T) {
	used, wrong := map[string]bool{}, map[string]bool{}
	keys := regexp.MustCompile(`\[[^\]]*\]`)
	for _, g := range goldens(t) {
		kind := g.object.Ref.Kind
		_, problems := decodeObject(t, g.object)
		bad := map[string]bool{}
		for _, p := range problems {
			bad[p.Field] = true
			field := keys.ReplaceAllString(p.Field, "")
			for ; field != ""; field = field[:max(strings.LastIndex(field, "."), 0)] {
				wrong[kind+" "+field] = true
			}
		}
		var in map[string]any
		if err := json.Unmarshal(g.object.JSON, &in); err != nil {
			t.Fatal(err)
		}
		w := useWalk{used: used, bad: bad}
		w.walk(kind+" spec", "spec", valueAt{in["spec"], messages()[kind]})
	}
	for _, field := range fieldList(t)["served"] {
		if !used[field] {
			t.Errorf("no golden file uses %s without a problem", field)
		}
		if !wrong[field] {
			t.Errorf("no golden file has a problem at or below %s", field)
		}
	}
}

// useWalk collects the fields that an object uses without a problem at them.
type useWalk struct{ used, bad map[string]bool }

type valueAt struct {
	value any
	m     protoreflect.MessageDescriptor
}

func (w useWalk) walk(field, place string, v valueAt) {
	object, ok := v.value.(map[string]any)
	if !ok {
		return
	}
	for name, value := range object {
		fd := v.m.Fields().ByJSONName(name)
		if fd == nil {
			continue
		}
		f, p := field+"."+name, place+"."+name
		if !w.bad[p] {
			w.used[f] = true
		}
		below := valueMessage(fd)
		if below == nil {
			continue
		}
		switch x := value.(type) {
		case []any:
			for i, e := range x {
				w.walk(f, strict.Root(p).Element(i).String(), valueAt{e, below})
			}
		case map[string]any:
			if !fd.IsMap() {
				w.walk(f, p, valueAt{x, below})
				continue
			}
			for key, e := range x {
				w.walk(f, strict.Root(p).Entry(key).String(), valueAt{e, below})
			}
		}
	}
}

func TestUnservedFieldsAreReported(t *testing.T) {
	list := fieldList(t)
	for _, field := range list["not-yet"] {
		kind, path, _ := strings.Cut(field, " ")
		_, problems := decodeObject(t, objectWith(t, kind, path))
		if !reported(problems, path, model.ReasonNotYetSupported) {
			t.Errorf("%s: not reported as not yet supported: %v", field, problems)
		}
	}
	for _, field := range list["mesh"] {
		kind, path, _ := strings.Cut(field, " ")
		_, problems := decodeObject(t, objectWith(t, kind, path))
		if !reported(problems, path, model.ReasonWaitingForMesh) {
			t.Errorf("%s: not reported as waiting for the mesh: %v", field, problems)
		}
	}
}

// A field without effect closes no server; it is reported.
func TestPlainServersServeInSpiteOfTLS(t *testing.T) {
	for _, field := range fieldList(t)["served"] {
		kind, path, _ := strings.Cut(field, " ")
		if !strings.HasPrefix(field, "Gateway spec.servers.tls.") || strings.HasSuffix(path, ".httpsRedirect") {
			continue
		}
		o := objectWith(t, kind, path)
		o.JSON = []byte(strings.Replace(string(o.JSON), `{"tls"`, `{"port":{"number":80,"name":"a","protocol":"HTTP"},"hosts":["*"],"tls"`, 1))
		value, problems := decodeObject(t, o)
		block := "spec.servers.tls."
		name, _, _ := strings.Cut(strings.TrimPrefix(path, block), ".")
		if !reported(problems, block+name, model.ReasonInvalidValue) || len(value.(*model.Gateway).Servers) != 1 {
			t.Errorf("%s: not reported, or the server is left out: %v", field, problems)
		}
	}
}

func reported(problems []model.Problem, path string, reason model.Reason) bool {
	keys := regexp.MustCompile(`\[[^\]]*\]`)
	return slices.ContainsFunc(problems, func(p model.Problem) bool {
		return p.Reason == reason && keys.ReplaceAllString(p.Field, "") == path
	})
}

// objectWith returns an object that uses one field, by its path.
func objectWith(t *testing.T, kind, path string) config.Object {
	t.Helper()
	spec := sample(t, valueAt{strings.Split(path, ".")[1:], messages()[kind]})
	text, err := json.Marshal(map[string]any{"apiVersion": Group + "/v1", "kind": kind, "spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	return config.Object{Meta: model.Meta{Ref: model.Ref{Group: Group, Kind: kind, Namespace: "shop", Name: "x"}}, JSON: text}
}

// sample returns the JSON of a message in which only the fields of a path are
// set; the last one to some value that is not its default.
func sample(t *testing.T, v valueAt) map[string]any {
	t.Helper()
	steps := v.value.([]string)
	f := v.m.Fields().ByJSONName(steps[0])
	if f == nil {
		t.Fatalf("%s has no field %s", v.m.FullName(), steps[0])
	}
	var value any
	switch below := valueMessage(f); {
	case below != nil && len(steps) > 1:
		value = sample(t, valueAt{steps[1:], below})
	case below != nil:
		value = map[string]any{}
	default:
		value = scalarSample(f)
	}
	switch {
	case f.IsMap():
		value = map[string]any{"key": value}
	case f.IsList():
		value = []any{value}
	}
	return map[string]any{steps[0]: value}
}

func scalarSample(f protoreflect.FieldDescriptor) any {
	if f.IsMap() {
		f = f.MapValue()
	}
	switch f.Kind() {
	case protoreflect.StringKind:
		return "x"
	case protoreflect.BoolKind:
		return true
	case protoreflect.EnumKind:
		return string(f.Enum().Values().Get(1).Name())
	case protoreflect.MessageKind:
		if f.Message().FullName() == strict.BoolValueName {
			return true
		}
		return "5s"
	}
	return 1
}
