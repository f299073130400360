package upstream_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/test/envoytest"
	"github.com/sluicegw/sluice/upstream"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// destination is the in.yaml of a golden case; settings are the defaults.
// Durations are nanoseconds.
type destination struct {
	Destination     model.Destination
	Port            model.ServicePort
	Resolution      model.Resolution
	Endpoints       []model.Endpoint
	Labels          map[string]string
	Policy          model.TrafficPolicy
	SubjectAltNames []string
	HealthCheck     *model.HealthCheck
	Proxy           model.Locality
	ProxyLabels     map[string]string
}

func (d destination) cluster() upstream.ClusterInput {
	return upstream.ClusterInput{
		Destination: d.Destination, Port: d.Port, Resolution: d.Resolution, Endpoints: d.Endpoints,
		Labels: d.Labels, Policy: d.Policy, SubjectAltNames: d.SubjectAltNames, HealthCheck: d.HealthCheck,
		PolicyNamespace: "shop", Proxy: d.Proxy, ProxyLabels: d.ProxyLabels, Settings: model.DefaultSettings(),
	}
}

func (d destination) endpoints() upstream.EndpointsInput {
	return upstream.EndpointsInput{
		Destination: d.Destination, Port: d.Port, Endpoints: d.Endpoints, Labels: d.Labels,
		Policy: d.Policy, Proxy: d.Proxy, ProxyLabels: d.ProxyLabels,
	}
}

// wants reports whether the cluster needs its endpoints over xDS.
func (d destination) wants() bool {
	return slices.Contains(upstream.Needs(d.cluster()), model.ResourceName{Type: model.TypeEndpoint, Name: model.ClusterName(d.Destination)})
}

// cases reads every golden file; the map's keys are their paths.
func cases(t *testing.T) map[string]*txtar.Archive {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	all := map[string]*txtar.Archive{}
	for _, file := range files {
		if all[file], err = txtar.ParseFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func read(t *testing.T, archive *txtar.Archive) destination {
	t.Helper()
	var in destination
	if err := yaml.UnmarshalStrict(archive.Files[0].Data, &in); err != nil {
		t.Fatal(err)
	}
	return in
}

// TestGolden compares what a destination becomes with testdata/*.txtar.
func TestGolden(t *testing.T) {
	for file, archive := range cases(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			in := read(t, archive)
			got := []txtar.File{{Name: "want.cluster.yaml", Data: protoYAML(t, upstream.Cluster(in.cluster()))}}
			if in.wants() {
				got = append(got, txtar.File{Name: "want.endpoints.yaml", Data: protoYAML(t, upstream.Endpoints(in.endpoints()))})
			}
			if names := secretNames(upstream.Needs(in.cluster())); names != "" {
				got = append(got, txtar.File{Name: "want.secrets", Data: []byte(names)})
			}
			var problems strings.Builder
			for _, p := range upstream.Problems(in.cluster()) {
				fmt.Fprintf(&problems, "%s %s: %s\n", p.Reason, p.Field, p.Message)
			}
			if problems.Len() > 0 {
				got = append(got, txtar.File{Name: "want.problems", Data: []byte(problems.String())})
			}
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

// secretNames returns the names of the secrets among needs, a line each.
func secretNames(needs []model.ResourceName) string {
	var out strings.Builder
	for _, n := range needs {
		if n.Type == model.TypeSecret {
			out.WriteString(n.Name + "\n")
		}
	}
	return out.String()
}

func protoYAML(t *testing.T, m proto.Message) []byte {
	t.Helper()
	if err := m.(interface{ ValidateAll() error }).ValidateAll(); err != nil {
		t.Error(err)
	}
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

// TestEnvoyAccepts has the real Envoy read every golden cluster, as it stands
// and with its endpoints written into it.
func TestEnvoyAccepts(t *testing.T) {
	config := &bootstrapv3.Bootstrap{
		Node:            &corev3.Node{Id: "test", Cluster: "test"},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{AdsConfig: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_DELTA_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "xds"},
			}}},
		}},
	}
	add := func(c *clusterv3.Cluster) {
		c.Name = fmt.Sprint(len(config.StaticResources.Clusters))
		config.StaticResources.Clusters = append(config.StaticResources.Clusters, c)
	}
	config.StaticResources.Clusters = []*clusterv3.Cluster{{
		Name: "xds", ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
	}}
	for _, archive := range cases(t) {
		in := read(t, archive)
		add(upstream.Cluster(in.cluster()))
		if in.wants() {
			listed := upstream.Cluster(in.cluster())
			if secretNames(upstream.Needs(in.cluster())) != "" {
				// A fixed cluster asks for its secrets at once, and there is
				// nobody to ask.
				listed.TransportSocket = nil
			}
			listed.EdsClusterConfig = nil
			listed.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
			listed.LoadAssignment = upstream.Endpoints(in.endpoints())
			add(listed)
		}
	}
	text, err := protojson.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), envoytest.Binary(t), "--mode", "validate", "-c", file, "--reject-unknown-dynamic-fields").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "deprecated") {
		t.Errorf("envoy finds something deprecated:\n%s", out)
	}
}
