package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/sluicegw/sluice/test/envoytest"
)

// small is a size at which every scenario ends in a second or two.
func small(name string) Options {
	o := Options{Hosts: 12, Services: 3, Edits: 30}
	switch name {
	case "edit-under-load":
		o.RPS = 100
	case "churn":
		o.EditsPerSecond = 20
	case "certificates":
		o.Edits, o.Names = 3, 20
	case "throughput", "tcp", "tls-passthrough", "websocket", "grpc", "handshakes":
		o.Seconds, o.Starts, o.Connections = 1, 1, 2
	case "endpoints":
		o.EditsPerSecond = 100
	case "last-route":
		o.Seconds, o.Starts, o.Connections, o.Routes = 1, 1, 2, 21
	}
	return o
}

func TestEveryScenario(t *testing.T) {
	envoy := envoytest.Binary(t)
	want := map[string]measures{
		"load":            {"envoy_series": 2},
		"add":             {"count": 30, "wrong": 0, "pushed_resources_per_edit": 1, "sluice_allocs_per_edit": 0},
		"edit":            {"count": 30, "wrong": 0, "pushed_resources_per_edit": 1},
		"edit-under-load": {"count": 30, "wrong": 0, "lost": 0},
		"churn":           {"count": 30, "wrong": 0},
		"throughput":      {"wrong": 0},
		"tcp":             {"wrong": 0},
		"tls-passthrough": {"wrong": 0},
		"websocket":       {"wrong": 0},
		"grpc":            {"wrong": 0},
		"endpoints":       {"wrong": 0, "endpoint_count": 30, "route_count": 30},
		"last-route":      {"wrong": 0},
		"handshakes":      {"wrong": 0},
		"certificates": {
			"wrong": 0, "dropped": 0, "add_count": 3, "add_answer_count": 3, "rotate_count": 3, "unknown_count": 20,
			"unknown_kept": 1, "unknown_secrets": 1,
		},
	}
	positive := map[string][]string{
		"load":            {"ready_s", "all_answer_s", "sluice_rss_mb", "envoy_peak_mb"},
		"add":             {"p50_ms", "p99_ms", "max_ms"},
		"edit":            {"p50_ms", "pushed_bytes_per_edit"},
		"edit-under-load": {"load_count", "load_p99_ms"},
		"churn":           {"background_edits"},
		"throughput":      {"throughput_ratio", "bare_throughput_ratio", "p99_ratio", "static_rps", "sluice_p99_ms"},
		"tcp":             {"throughput_ratio", "static_rps"},
		"tls-passthrough": {"throughput_ratio", "static_rps"},
		"websocket":       {"throughput_ratio", "static_rps"},
		"grpc":            {"throughput_ratio", "static_rps"},
		"endpoints":       {"endpoint_p99_ms", "route_p50_ms", "background_changes_per_s"},
		"last-route":      {"last_to_first_ratio", "last_rps"},
		"handshakes": {
			"ecdsa_full_ratio", "ecdsa_full_static_cpu_us", "rsa_full_per_second", "ecdsa_resumed_static_per_second",
			"ecdsa_resumed_tls12_ratio", "rsa_full_static_busy",
		},
		"certificates": {"ready_seconds", "usable_seconds", "envoy_rss_mb", "add_p50_ms", "add_answer_p99_ms", "rotate_p50_ms", "unknown_p99_ms"},
	}
	for _, s := range Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			if len(positive[s.Name]) == 0 {
				t.Fatal("nothing is expected of it")
			}
			r, err := s.Run(t.Context(), fakePlace(t, envoy, "none"), small(s.Name))
			if err != nil {
				t.Fatal(err)
			}
			for name, v := range want[s.Name] {
				if got, ok := r.Measures[name]; !ok || got != v {
					t.Errorf("%s is %v (given: %v), want %v", name, got, ok, v)
				}
			}
			for _, name := range positive[s.Name] {
				if r.Measures[name] <= 0 {
					t.Errorf("%s is %v, want more than 0", name, r.Measures[name])
				}
			}
			if _, err := json.Marshal(r); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatIsLostIsCounted(t *testing.T) {
	s, err := Find("edit-under-load")
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Run(t.Context(), fakePlace(t, "unused", "7"), small(s.Name))
	if err != nil {
		t.Fatal(err)
	}
	if r.Measures["load_not_200"]+r.Measures["wrong"] == 0 {
		t.Errorf("a tenth of the answers is 503, but nothing was counted: %v", r.Measures)
	}
}

func TestSluiceThatEndsIsAnError(t *testing.T) {
	var log bytes.Buffer
	s, err := Find("edit")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Run(t.Context(), Place{Sluice: "/bin/false", Envoy: "unused", Log: &log}, small("edit"))
	if err == nil || !strings.Contains(err.Error(), "the process has ended") {
		t.Errorf("error is %v", err)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	s, err := Find("add")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Run(ctx, fakePlace(t, "unused", "none"), small("add")); err == nil {
		t.Error("a cancelled run has a result")
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
