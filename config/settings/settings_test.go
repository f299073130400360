package settings

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
)

// ref names the object that every test decodes.
func ref() model.Ref {
	return model.Ref{Group: Group, Kind: Kind, Namespace: "default", Name: "settings"}
}

// read decodes an object whose spec is given as JSON.
func read(t *testing.T, spec string) (*model.Settings, []model.Problem) {
	t.Helper()
	return readObject(t, `{"apiVersion":"sluice.dev/v1","kind":"Settings","metadata":{"name":"settings"},"spec":`+spec+`}`)
}

func readObject(t *testing.T, text string) (*model.Settings, []model.Problem) {
	t.Helper()
	kind, ok := Kinds()[config.GroupKind{Group: "sluice.dev", Kind: "Settings"}]
	if !ok || cmp.Diff([]string{"v1"}, kind.Versions) != "" {
		t.Fatalf("sluice.dev/v1 Settings is not among the kinds: %v", Kinds())
	}
	value, problems := kind.Decode(config.Object{Meta: model.Meta{Ref: ref()}, JSON: []byte(text)})
	settings, ok := value.(*model.Settings)
	if !ok || settings.Ref != ref() {
		t.Fatalf("decoded %T of %v", value, value.Metadata().Ref)
	}
	return settings, problems
}

func defaults() *model.Settings {
	s := model.DefaultSettings()
	s.Ref = ref()
	return &s
}

// TestEveryField gives every field another value than its default, and demands
// that no field of the model is left out.
func TestEveryField(t *testing.T) {
	want := &model.Settings{
		Meta:                model.Meta{Ref: ref()},
		ListenerBufferBytes: 64 << 10, ClusterBufferBytes: 65000, RequestBodyBufferBytes: 2 << 10,
		ConnectionIdleTimeout: 90 * time.Minute, StreamIdleTimeout: time.Minute, RequestTimeout: 1500 * time.Millisecond, RequestHeadersTimeout: time.Second,
		MaxConcurrentStreams: 1, StreamWindowBytes: 65535, ConnectionWindowBytes: 2 << 20,
		MaxRequestHeadersKiB: 8192, MaxRequestHeaders: 1, MaxResponseHeadersKiB: 7, MaxResponseHeaders: 8,
		UnderscoreHeaders: true, MergeSlashes: false, EscapedSlashes: model.EscapedSlashesKeep, PathParameters: model.PathParametersKeep, TrustedHops: 2, HTTP10: true, KeepHeaderCase: true,
		ListenerConnections: 5, MaxConnections: 6, MaxHeapBytes: 8 << 30,
		ConnectTimeout: time.Millisecond, DrainTimeout: time.Hour,
	}
	got, problems := read(t, `{
		"listenerBufferBytes":"64KiB","clusterBufferBytes":65000,"requestBodyBufferBytes":"2KiB",
		"connectionIdleTimeout":"1h30m","streamIdleTimeout":"1m","requestTimeout":"1.5s","requestHeadersTimeout":"1s",
		"maxConcurrentStreams":1,"streamWindowBytes":"65535","connectionWindowBytes":"2MiB",
		"maxRequestHeadersKiB":8192,"maxRequestHeaders":1,"maxResponseHeadersKiB":7,"maxResponseHeaders":8,
		"underscoreHeaders":true,"mergeSlashes":false,"escapedSlashes":"Keep","pathParameters":"Keep","trustedHops":2,"http10":true,"keepHeaderCase":true,
		"listenerConnections":5,"maxConnections":6,"maxHeapBytes":"8GiB",
		"connectTimeout":"1ms","drainTimeout":"1h"}`)
	if len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	changed, original := reflect.ValueOf(*got), reflect.ValueOf(*defaults())
	for i := range changed.NumField() {
		name := changed.Type().Field(i).Name
		if name != "Meta" && changed.Field(i).Equal(original.Field(i)) {
			t.Errorf("no field of the spec sets %s", name)
		}
	}
}

// TestRefused demands one problem for each bad value, and the default.
func TestRefused(t *testing.T) {
	cases := []struct {
		spec, field string
		reason      model.Reason
	}{
		{`{"listenerBuferBytes":1}`, "spec.listenerBuferBytes", model.ReasonUnknownField},
		{`{"ListenerBufferBytes":32768}`, "spec.ListenerBufferBytes", model.ReasonUnknownField},
		{`{"listenerBufferBytes":true}`, "spec.listenerBufferBytes", model.ReasonWrongType},
		{`{"listenerBufferBytes":1}`, "spec.listenerBufferBytes", model.ReasonInvalidValue},
		{`{"listenerBufferBytes":-1}`, "spec.listenerBufferBytes", model.ReasonInvalidValue},
		{`{"listenerBufferBytes":"32 KiB"}`, "spec.listenerBufferBytes", model.ReasonInvalidValue},
		{`{"listenerBufferBytes":"32KB"}`, "spec.listenerBufferBytes", model.ReasonInvalidValue},
		{`{"listenerBufferBytes":"KiB"}`, "spec.listenerBufferBytes", model.ReasonInvalidValue},
		{`{"maxHeapBytes":"18014398509481985KiB"}`, "spec.maxHeapBytes", model.ReasonInvalidValue},
		{`{"maxHeapBytes":99999999999999999999999}`, "spec.maxHeapBytes", model.ReasonInvalidValue},
		{`{"streamWindowBytes":65534}`, "spec.streamWindowBytes", model.ReasonInvalidValue},
		{`{"maxConcurrentStreams":"100"}`, "spec.maxConcurrentStreams", model.ReasonWrongType},
		{`{"maxConcurrentStreams":1.5}`, "spec.maxConcurrentStreams", model.ReasonInvalidValue},
		{`{"maxConcurrentStreams":0}`, "spec.maxConcurrentStreams", model.ReasonInvalidValue},
		{`{"maxConcurrentStreams":4294967296}`, "spec.maxConcurrentStreams", model.ReasonInvalidValue},
		{`{"maxConcurrentStreams":[1]}`, "spec.maxConcurrentStreams", model.ReasonWrongType},
		{`{"connectTimeout":10}`, "spec.connectTimeout", model.ReasonWrongType},
		{`{"connectTimeout":"10"}`, "spec.connectTimeout", model.ReasonInvalidValue},
		{`{"connectTimeout":"-1s"}`, "spec.connectTimeout", model.ReasonInvalidValue},
		{`{"connectTimeout":"0s"}`, "spec.connectTimeout", model.ReasonInvalidValue},
		{`{"connectTimeout":"9999999h"}`, "spec.connectTimeout", model.ReasonInvalidValue},
		{`{"requestTimeout":"1ns"}`, "spec.requestTimeout", model.ReasonInvalidValue},
		{`{"http10":"yes"}`, "spec.http10", model.ReasonWrongType},
		{`{"http10":1}`, "spec.http10", model.ReasonWrongType},
		{`{"escapedSlashes":"keep"}`, "spec.escapedSlashes", model.ReasonInvalidValue},
		{`{"escapedSlashes":{}}`, "spec.escapedSlashes", model.ReasonWrongType},
		{`[]`, "spec", model.ReasonWrongType},
	}
	for _, c := range cases {
		t.Run(c.spec, func(t *testing.T) {
			got, problems := read(t, c.spec)
			if len(problems) != 1 || problems[0].Field != c.field || problems[0].Reason != c.reason ||
				problems[0].Object != ref() || problems[0].Severity != model.SeverityError || problems[0].Message == "" {
				t.Errorf("problems: %+v, want one %s at %s", problems, c.reason, c.field)
			}
			if diff := cmp.Diff(defaults(), got); diff != "" {
				t.Errorf("a bad value changed the settings:\n%s", diff)
			}
		})
	}
}

func TestNeighboursStay(t *testing.T) {
	got, problems := readObject(t, `{"kind":"Settings","extra":1,"spec":{"http10":true,"zzz":1,"aaa":1,"trustedHops":null,"connectTimeout":7}}`)
	var fields []string
	for _, p := range problems {
		fields = append(fields, p.Field)
	}
	if diff := cmp.Diff([]string{"extra", "spec.aaa", "spec.connectTimeout", "spec.zzz"}, fields); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	want := defaults()
	want.HTTP10 = true
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestEmpty(t *testing.T) {
	for _, text := range []string{`{}`, `{"spec":null}`, `{"spec":{}}`} {
		got, problems := readObject(t, text)
		if diff := cmp.Diff(defaults(), got); diff != "" || len(problems) > 0 {
			t.Errorf("%s: problems %v\n%s", text, problems, diff)
		}
	}
	if _, problems := readObject(t, `"text"`); len(problems) != 1 || problems[0].Reason != model.ReasonWrongType {
		t.Errorf("an object that is none: %v", problems)
	}
}

// TestDefaultsPage reads the first table of docs/defaults.md: every field is in
// it, and every default, read like a user's value, is the default of the code.
func TestDefaultsPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/defaults.md")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(page), "## What has no setting")
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]+)` \\| [^|]+ \\| [^|]+ \\|$")
	documented := map[string]bool{}
	known := map[string]field{}
	for _, f := range fields() {
		known[f.name] = f
	}
	for _, cells := range row.FindAllStringSubmatch(table, -1) {
		name, value := cells[1], cells[2]
		f, ok := known[name]
		if !ok || documented[name] {
			t.Errorf("the page lists %s, which is unknown or there twice", name)
			continue
		}
		documented[name] = true
		raw := json.RawMessage(value)
		if !json.Valid(raw) {
			raw, _ = json.Marshal(value)
		}
		var got model.Settings
		if fault := f.set(&got, raw); fault != nil {
			t.Errorf("the page's default of %s is refused: %s", name, fault.message)
		}
		same := func(goName string) bool { return strings.EqualFold(goName, name) }
		read := reflect.ValueOf(got).FieldByNameFunc(same)
		if want := reflect.ValueOf(model.DefaultSettings()).FieldByNameFunc(same); !read.IsValid() || !read.Equal(want) {
			t.Errorf("the page says %s is %s, the code %v", name, value, want)
		}
	}
	for name := range known {
		if !documented[name] {
			t.Errorf("the page lacks %s", name)
		}
	}
}
