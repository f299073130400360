package kube

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"sigs.k8s.io/yaml"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
)

// object returns the object of a YAML document, as a source would. Its name is
// "x" in namespace "shop" unless its metadata says otherwise.
func object(t testing.TB, document string) config.Object {
	t.Helper()
	text, err := yaml.YAMLToJSON([]byte(document))
	if err != nil {
		t.Fatalf("%v in\n%s", err, document)
	}
	var head struct {
		APIVersion, Kind string
		Metadata         struct{ Labels, Annotations map[string]string }
	}
	if err := json.Unmarshal(text, &head); err != nil {
		t.Fatal(err)
	}
	group, _, versioned := strings.Cut(head.APIVersion, "/")
	if !versioned {
		group = ""
	}
	return config.Object{
		Meta: model.Meta{
			Ref:         model.Ref{Group: group, Kind: head.Kind, Namespace: "shop", Name: "x"},
			Labels:      head.Metadata.Labels,
			Annotations: head.Metadata.Annotations,
		},
		APIVersion: head.APIVersion,
		JSON:       text,
	}
}

// decode returns the value and the problems, one line each.
func decode(t testing.TB, document string) (model.Value, []string) {
	t.Helper()
	o := object(t, document)
	kind, known := Kinds()[config.GroupKind{Group: o.Ref.Group, Kind: o.Ref.Kind}]
	if !known {
		t.Fatalf("no decoder for %s", o.Ref)
	}
	value, problems := kind.Decode(o)
	var lines []string
	for _, p := range problems {
		if p.Object != o.Ref || p.Message == "" {
			t.Errorf("incomplete problem %+v", p)
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", p.Severity, p.Field, p.Reason))
	}
	return value, lines
}

type decodeCase struct {
	name     string
	document string
	want     model.Value // nil: nothing can be used
	problems []string
}

func runCases(t *testing.T, cases []decodeCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			value, problems := decode(t, c.document)
			if diff := cmp.Diff(c.want, value, cmpopts.IgnoreTypes(model.Meta{})); diff != "" {
				t.Errorf("value (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(c.problems, problems); diff != "" {
				t.Errorf("problems (-want +got)\n%s", diff)
			}
			if value != nil && value.Metadata().Ref.Name != "x" {
				t.Errorf("the value lost its meta: %+v", value.Metadata())
			}
		})
	}
}

func TestKinds(t *testing.T) {
	var got []string
	for gk, kind := range Kinds() {
		got = append(got, fmt.Sprintf("%s/%s %v", gk.Group, gk.Kind, kind.Versions))
	}
	slices.Sort(got)
	want := []string{"/ConfigMap [v1]", "/Secret [v1]", "/Service [v1]", "discovery.k8s.io/EndpointSlice [v1]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
