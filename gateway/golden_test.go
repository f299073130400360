package gateway_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	dfpcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// port is the in.yaml of a golden case: one port with its virtual hosts.
type port struct {
	Bind   model.Bind
	Scoped bool
	// Settings are laid over the defaults, durations in nanoseconds.
	Settings json.RawMessage
	Hosts    []json.RawMessage
	MaxBody  uint32
	// What ListenerInput has beside these.
	GRPCWeb        bool
	ProxyProtocol  *model.ProxyProtocolIn
	MaxConnections uint32
	DNSCache       json.RawMessage
	// Show lists the parts that the case is about.
	Show []string
}

// TestGolden compares what a port becomes with testdata/*.txtar.
func TestGolden(t *testing.T) {
	golden(t, "testdata/*.txtar", func(t *testing.T, text []byte) []txtar.File {
		var in port
		if err := yaml.UnmarshalStrict(text, &in); err != nil {
			t.Fatal(err)
		}
		return translate(t, in)
	})
}

// golden compares what run makes of the first part of every file with the rest.
func golden(t *testing.T, pattern string, run func(*testing.T, []byte) []txtar.File) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := run(t, archive.Files[0].Data)
			if *update {
				archive.Files = append(archive.Files[:1], got...)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(&txtar.Archive{Files: archive.Files[1:]})), string(txtar.Format(&txtar.Archive{Files: got}))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// translate returns the shown parts of what in becomes, in the order of Show.
func translate(t *testing.T, in port) []txtar.File {
	t.Helper()
	input := gateway.ListenerInput{Bind: in.Bind, Table: model.Table{Bind: in.Bind}.Name(), Settings: model.DefaultSettings()}
	if in.Settings != nil {
		if err := json.Unmarshal(in.Settings, &input.Settings); err != nil {
			t.Fatal(err)
		}
	}
	input.GRPCWeb, input.ProxyProtocol, input.MaxConnections = in.GRPCWeb, in.ProxyProtocol, in.MaxConnections
	if in.DNSCache != nil {
		input.DNSCache = new(dfpcommonv3.DnsCacheConfig)
		if err := protojson.Unmarshal(in.DNSCache, input.DNSCache); err != nil {
			t.Fatal(err)
		}
	}
	parts := map[string][]proto.Message{"listener": {gateway.Listener(input)}}
	var encoded [][]byte
	var keys []string
	for _, text := range in.Hosts {
		vh := new(routev3.VirtualHost)
		if err := protojson.Unmarshal(text, vh); err != nil {
			t.Fatal(err)
		}
		before := proto.CloneOf(vh)
		host := vh.GetDomains()[0]
		if in.Scoped {
			if strings.HasPrefix(host, "*.") {
				keys = append(keys, model.ScopeName(input.Table, host))
			}
			parts["routes"] = append(parts["routes"], gateway.ScopedTable(input.Table, vh, in.MaxBody))
			parts["scopes"] = append(parts["scopes"], gateway.Scope(input.Table, host))
		}
		if !proto.Equal(before, vh) {
			t.Errorf("the virtual host of %s was changed", host)
		}
		b, err := proto.Marshal(vh)
		if err != nil {
			t.Fatal(err)
		}
		encoded = append(encoded, b)
	}
	if !in.Scoped {
		keys = []string{model.ScopeName(input.Table, model.PlainScope)}
		parts["scopes"] = []proto.Message{gateway.TableScope(input.Table)}
		table := new(routev3.RouteConfiguration)
		if err := proto.Unmarshal(gateway.PlainTable(input.Table, encoded, in.MaxBody), table); err != nil {
			t.Fatal(err)
		}
		parts["routes"] = []proto.Message{table}
	}
	slices.Sort(keys)
	parts["extensions"] = []proto.Message{gateway.Fallback(keys), gateway.TableLayout(input.Table, in.Scoped)}
	var files []txtar.File
	for _, part := range in.Show {
		var data []byte
		if part == "needs" {
			data = toYAML(t, gateway.ListenerNeeds(input))
		}
		for _, m := range parts[part] {
			validate(t, m)
			data = append(data, "---\n"...)
			data = append(data, protoYAML(t, m)...)
		}
		files = append(files, txtar.File{Name: "want." + part + ".yaml", Data: data})
	}
	return files
}

func toYAML(t *testing.T, v any) []byte {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func protoYAML(t *testing.T, m proto.Message) []byte {
	t.Helper()
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out, err := yaml.JSONToYAML(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// validate runs the protos' own checks on m and on every message packed in it.
func validate(t *testing.T, m proto.Message) {
	t.Helper()
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			t.Error(err)
		}
	}
	packed, ok := m.(*anypb.Any)
	if ok {
		inner, err := packed.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		validate(t, inner)
		return
	}
	m.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
			if field.MapValue().Message() != nil {
				value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					validate(t, v.Message().Interface())
					return true
				})
			}
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				validate(t, value.List().Get(i).Message().Interface())
			}
		default:
			validate(t, value.Message().Interface())
		}
		return true
	})
}
