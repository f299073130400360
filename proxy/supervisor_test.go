package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sluicegw/sluice/model"
)

func TestStartServesAndTheDataDirectoryIsLeftClean(t *testing.T) {
	w := newWorld(t)
	s, stop := supervise(t, w.options(t))
	if _, err := s.Admin(t.Context(), http.MethodGet, "/ready"); err == nil {
		t.Log("already there") // a fast start is no fault
	}
	state := awaitPhase(t, s, PhaseRunning)
	if state.Version != "1.40.0" || state.Epoch != 0 || state.PID == 0 {
		t.Errorf("state %+v", state)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if _, err := post(transport, w.addr, "hello"); err != nil {
		t.Errorf("request through envoy: %v", err)
	}
	for path, want := range map[string]int{"/ready": 200, "/stats/prometheus": 200, "/quitquitquit": 403, "/cpuprofiler": 403} {
		method := http.MethodGet
		if want == 403 {
			method = http.MethodPost
		}
		res, err := s.Admin(t.Context(), method, path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("admin %s: %d %s, want %d", path, res.StatusCode, body, want)
		}
		if path == "/stats/prometheus" && !strings.Contains(string(body), "envoy_cluster_upstream_rq_total") {
			t.Errorf("prometheus page misses the requests of clusters")
		}
	}
	info, err := os.Stat(filepath.Join(w.dir, "envoy-0.sock"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("admin socket: %v %v, want mode 0600", info.Mode(), err)
	}
	baseID, err := (&dataDir{path: w.dir}).readBaseID()
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if got := s.State(); got.Phase != PhaseStopped || got.PID != 0 || got.Restarts != 0 {
		t.Errorf("state after the end %+v", got)
	}
	if _, err := s.Admin(t.Context(), http.MethodGet, "/ready"); !errors.Is(err, ErrNoEnvoy) {
		t.Errorf("admin after the end: %v, want ErrNoEnvoy", err)
	}
	if err := s.Restart(t.Context(), Change{}); !errors.Is(err, ErrNoEnvoy) {
		t.Errorf("restart after the end: %v, want ErrNoEnvoy", err)
	}
	left, _ := filepath.Glob(filepath.Join(w.dir, "*"))
	if len(left) != 2 { // lock and pid
		t.Errorf("left in the data directory: %v", left)
	}
	if shm := sharedMemory(baseID); exists(shm) {
		t.Errorf("shared memory %s is left", shm)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestKilledEnvoyIsStartedAgainAndSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		keep   bool
		status string
	}{
		"as a child": {false, "signal: killed"},
		"detached":   {true, unknownStatus},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.options(t)
			o.KeepEnvoy = c.keep
			s, stop := supervise(t, o)
			for round := 1; round <= 3; round++ {
				before := awaitPhase(t, s, PhaseRunning)
				if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				eventually(t, "another process serves", func() bool {
					now := s.State()
					return now.Phase == PhaseRunning && now.PID != before.PID
				})
				after := s.State()
				if after.Restarts != round || after.LastExit == nil || after.LastExit.PID != before.PID || after.LastExit.Status != c.status {
					t.Errorf("round %d: state %+v, last exit %+v", round, after, after.LastExit)
				}
				if _, err := post(&http.Transport{DisableKeepAlives: true}, w.addr, "again"); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			}
			stop() // drains and ends it, kept or not
			if left := running(w.dir); len(left) > 0 {
				t.Errorf("still running: %v", left)
			}
			if exists(filepath.Join(w.dir, stateFile)) {
				t.Error("the state file is left")
			}
		})
	}
}

func TestDrainTellsKeepAliveClientsAndLosesNothing(t *testing.T) {
	w := newWorld(t)
	o := w.options(t)
	o.DrainTime *= 20 // ends long before: when all have been told
	s, stop := supervise(t, o)
	state := awaitPhase(t, s, PhaseRunning)
	const clients = 6
	l := startLoad(t, w.addr, clients, true)
	l.wait(t, 50)
	stop()
	l.end(t)
	if l.told != clients {
		t.Errorf("%d of %d clients were told to close", l.told, clients)
	}
	if _, alive := startTime(state.PID); alive {
		t.Errorf("envoy (pid %d) is still there", state.PID)
	}
}

func TestHotRestartUnderLoadLosesNothing(t *testing.T) {
	w := newWorld(t)
	s, _ := supervise(t, w.options(t))
	before := awaitPhase(t, s, PhaseRunning)
	l := startLoad(t, w.addr, 6, false)
	l.wait(t, 20)
	settings := model.DefaultSettings()
	settings.MaxConnections = 777
	if err := s.Restart(t.Context(), Change{Settings: &settings}); err != nil {
		t.Fatal(err)
	}
	l.wait(t, 20)
	l.end(t)
	after := awaitPhase(t, s, PhaseRunning)
	if after.Epoch != 1 || after.PID == before.PID || after.HotRestarts != 1 || after.Restarts != 0 {
		t.Errorf("state %+v", after)
	}
	if _, alive := startTime(before.PID); alive {
		t.Errorf("envoy of epoch 0 (pid %d) is still there", before.PID)
	}
	raw, err := os.ReadFile(filepath.Join(w.dir, "envoy-1.json"))
	if err != nil || !strings.Contains(string(raw), `"777"`) {
		t.Errorf("bootstrap of epoch 1 lacks the new limit: %v", err)
	}
	if exists(filepath.Join(w.dir, "envoy-0.json")) {
		t.Error("bootstrap of epoch 0 is left")
	}
	// A crash after it begins again with epoch 0.
	if err := syscall.Kill(after.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "epoch 0 serves", func() bool {
		now := s.State()
		return now.Phase == PhaseRunning && now.Epoch == 0 && now.PID != after.PID
	})
}

func TestStopDuringAHotRestartEndsBoth(t *testing.T) {
	w := newWorld(t)
	o := w.options(t)
	o.DrainTime *= 3
	s, stop := supervise(t, o)
	before := awaitPhase(t, s, PhaseRunning)
	l := startLoad(t, w.addr, 4, true)
	l.wait(t, 10)
	restarted := make(chan error, 1)
	go func() { restarted <- s.Restart(context.Background(), Change{}) }()
	eventually(t, "epoch 1 is live and epoch 0 drains", func() bool {
		info, err := askServerInfo(filepath.Join(w.dir, "envoy-1.sock"))
		return err == nil && info.State == "LIVE"
	})
	if _, alive := startTime(before.PID); !alive {
		t.Error("envoy of epoch 0 did not drain")
	}
	stop()
	if err := <-restarted; err != nil {
		t.Errorf("restart: %v", err)
	}
	l.end(t)
	if left := running(w.dir); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
}

func TestHotRestartThatCannotWorkLeavesTheOldOneAlone(t *testing.T) {
	w := newWorld(t)
	s, _ := supervise(t, w.options(t))
	before := awaitPhase(t, s, PhaseRunning)
	old := script(t, `echo 'envoy  version: abc/1.30.1/Clean/RELEASE/BoringSSL'`)
	other := script(t, `case $1 in --version) echo 'envoy  version: abc/1.50.0/Clean/RELEASE/BoringSSL';; *) echo 12.1;; esac`)
	refuses := script(t, `case $1 in --version) echo 'envoy  version: abc/1.50.0/Clean/RELEASE/BoringSSL';; --hot-restart-version) echo 11.104;; *) echo no such thing >&2; exit 1;; esac`)
	for binary, want := range map[string]string{old: "1.30.1", other: "12.1", refuses: "no such thing", "/nowhere/envoy": "does not exist"} {
		err := s.Restart(t.Context(), Change{Binary: binary})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("restart with %s: %v, want something about %q", binary, err, want)
		}
	}
	after := awaitPhase(t, s, PhaseRunning)
	if after.PID != before.PID || after.Epoch != 0 {
		t.Errorf("state %+v, want that of before %+v", after, before)
	}
	if _, err := post(&http.Transport{DisableKeepAlives: true}, w.addr, "still here"); err != nil {
		t.Error(err)
	}
	if err := s.Restart(t.Context(), Change{}); err != nil {
		t.Errorf("restart with the binary of before: %v", err)
	}
}
