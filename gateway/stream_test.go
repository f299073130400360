package gateway_test

import (
	"encoding/json"
	"testing"

	dfpcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
)

// streamPort is the in.yaml of a golden case: one port that carries bytes.
type streamPort struct {
	Bind     model.Bind
	Servers  []gateway.StreamServer
	Targets  []streamTarget
	DNSCache json.RawMessage
}

// streamTarget is a destination and what became of it, durations in nanoseconds.
type streamTarget struct {
	model.Destination
	Target model.Target
}

// TestStreamGolden compares what such a port becomes with
// testdata/stream/*.txtar.
func TestStreamGolden(t *testing.T) {
	golden(t, "testdata/stream/*.txtar", func(t *testing.T, text []byte) []txtar.File {
		var in streamPort
		if err := yaml.UnmarshalStrict(text, &in); err != nil {
			t.Fatal(err)
		}
		input := gateway.StreamInput{
			Bind: in.Bind, Settings: model.DefaultSettings(), Servers: in.Servers, Targets: map[model.Destination]model.Target{},
		}
		for _, target := range in.Targets {
			input.Targets[target.Destination] = target.Target
		}
		if in.DNSCache != nil {
			input.DNSCache = new(dfpcommonv3.DnsCacheConfig)
			if err := protojson.Unmarshal(in.DNSCache, input.DNSCache); err != nil {
				t.Fatal(err)
			}
		}
		listener, problems := gateway.StreamListener(input)
		files := []txtar.File{{Name: "want.listener.yaml", Data: []byte("none\n")}}
		if listener != nil {
			validate(t, listener)
			files[0].Data = protoYAML(t, listener)
		}
		files = append(files, txtar.File{Name: "want.clusters.yaml", Data: toYAML(t, gateway.StreamClusters(listener))})
		var lines []byte
		for _, p := range problems {
			lines = append(lines, string(p.Severity)+" "+string(p.Reason)+" "+p.Object.String()+" "+p.Field+": "+p.Message+"\n"...)
		}
		return append(files, txtar.File{Name: "want.problems.txt", Data: lines})
	})
}

// TestCompatible checks which servers may share a port.
func TestCompatible(t *testing.T) {
	server := func(p model.Protocol, passthrough bool) *model.Server {
		return &model.Server{Protocol: p, Passthrough: passthrough}
	}
	cases := []struct {
		name string
		a, b *model.Server
		want bool
	}{
		{"HTTP versions", server(model.ProtocolHTTP, false), server(model.ProtocolGRPCWeb, false), true},
		{"HTTP and TCP", server(model.ProtocolHTTP, false), server(model.ProtocolTCP, false), false},
		{"HTTP and TLS", server(model.ProtocolHTTP, false), server(model.ProtocolHTTPS, true), false},
		{"passthrough", server(model.ProtocolTLS, true), server(model.ProtocolHTTPS, true), true},
		{"passthrough and ended", server(model.ProtocolTLS, true), server(model.ProtocolTLS, false), true},
		{"ended twice", server(model.ProtocolHTTPS, false), server(model.ProtocolTLS, false), true},
		{"TCP twice", server(model.ProtocolTCP, false), server(model.ProtocolTCP, false), false},
		{"TCP and MONGO", server(model.ProtocolTCP, false), server(model.ProtocolMongo, false), false},
		{"TCP and passthrough", server(model.ProtocolTCP, false), server(model.ProtocolTLS, true), true},
		{"MYSQL and passthrough", server(model.ProtocolMySQL, false), server(model.ProtocolTLS, true), false},
		{"UDP twice", server(model.ProtocolUDP, false), server(model.ProtocolUDP, false), false},
		{"UDP and TCP", server(model.ProtocolUDP, false), server(model.ProtocolTCP, false), false},
	}
	for _, c := range cases {
		if got, turned := gateway.Compatible(c.a, c.b), gateway.Compatible(c.b, c.a); got != c.want || turned != c.want {
			t.Errorf("%s: %v, turned %v, want %v", c.name, got, turned, c.want)
		}
	}
}
