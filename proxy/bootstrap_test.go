package proxy

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/test/envoytest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestBootstrap(t *testing.T) {
	unlimited := model.DefaultSettings()
	unlimited.MaxConnections, unlimited.MaxHeapBytes = 0, 0
	for name, settings := range map[string]model.Settings{
		"defaults-at-the-edge": model.DefaultSettings(),
		"nothing-is-limited":   unlimited,
		"runs-in-a-zone":       model.DefaultSettings(),
	} {
		t.Run(name, func(t *testing.T) {
			in := BootstrapInput{
				NodeID: "machine-1", Cluster: "default", XDSSocket: "/run/sluice/xds.sock",
				AdminSocket: "/run/sluice/envoy-0.sock", DrainFile: "/run/sluice/envoy-0.drain", Settings: settings,
			}
			if name == "runs-in-a-zone" {
				in.Locality = model.Locality{Region: "north", Zone: "a"}
			}
			got, err := bootstrapJSON(Bootstrap(in))
			if err != nil {
				t.Fatal(err)
			}
			if again, _ := bootstrapJSON(Bootstrap(in)); string(again) != string(got) {
				t.Error("two bootstraps of one input differ")
			}
			golden := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(golden, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("bootstrap (-want +got):\n%s", diff)
			}
			// Envoy watches the file, so it has to be there.
			dir := t.TempDir()
			there := filepath.Join(dir, "envoy.json")
			text := strings.ReplaceAll(string(got), in.DrainFile, filepath.Join(dir, "drain"))
			if err := os.WriteFile(there, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(envoytest.Binary(t), "--mode", "validate", "--log-level", "warning", "-c", there).CombinedOutput()
			if err != nil {
				t.Errorf("envoy refuses it: %v\n%s", err, out)
			}
		})
	}
}

func TestBootstrapWithoutSocketIsAnError(t *testing.T) {
	if _, err := bootstrapJSON(Bootstrap(BootstrapInput{})); err == nil {
		t.Error("a bootstrap without sockets was rendered")
	}
}
