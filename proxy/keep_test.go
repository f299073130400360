package proxy

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/sluicegw/sluice/test/envoytest"
)

// startChild runs a Sluice in a process of its own until its Envoy serves, and
// returns how to kill it. The PID is that of its Envoy.
func startChild(t *testing.T, w *world, mode string) (pid int, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+envoytest.Binary(t)+":"+w.dir+":"+w.socket+":"+mode)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	kill = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(kill)
	admin := filepath.Join(w.dir, "envoy-0.sock")
	eventually(t, "the child's envoy serves", func() bool {
		info, err := askServerInfo(admin)
		return err == nil && info.State == "LIVE"
	})
	pids := running(w.dir)
	if len(pids) != 1 {
		t.Fatalf("processes %v of the child, want one", pids)
	}
	return pids[0], kill
}

func TestKilledSluiceTakesItsEnvoyAlong(t *testing.T) {
	w := newWorld(t)
	pid, kill := startChild(t, w, "no")
	baseID, err := (&dataDir{path: w.dir}).readBaseID()
	if err != nil {
		t.Fatal(err)
	}
	kill()
	eventually(t, "envoy is gone", func() bool {
		_, alive := startTime(pid)
		return !alive
	})
	// What it left does not disturb the next run.
	s, _ := supervise(t, w.options(t))
	if state := awaitPhase(t, s, PhaseRunning); state.Epoch != 0 || state.Adopted {
		t.Errorf("state %+v, want a fresh start", state)
	}
	if shm := sharedMemory(baseID); exists(shm) {
		t.Errorf("shared memory %s of the run before is left", shm)
	}
}

func TestKeptEnvoyServesOnAndIsTakenOver(t *testing.T) {
	w := newWorld(t)
	pid, kill := startChild(t, w, "keep")
	eventually(t, "the state file says it is live", func() bool {
		records, err := (&dataDir{path: w.dir}).recall()
		return err == nil && len(records) == 1 && records[0].Live
	})
	// A log pipe that does not block is one on which Envoy loses lines.
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/fdinfo/2")
	var flags int
	if _, scanErr := fmt.Sscanf(string(raw), "pos: 0\nflags: %o", &flags); err != nil || scanErr != nil || flags&syscall.O_NONBLOCK != 0 {
		t.Errorf("standard error of envoy: %v %v %q", err, scanErr, raw)
	}
	l := startLoad(t, w.addr, 4, false)
	l.wait(t, 10)
	kill()
	l.wait(t, 20)
	if _, alive := startTime(pid); !alive {
		t.Fatal("envoy did not outlive its Sluice")
	}
	s, stop := supervise(t, w.options(t))
	state := awaitPhase(t, s, PhaseRunning)
	l.wait(t, 20)
	l.end(t)
	if state.Epoch != 1 || !state.Adopted || state.PID == pid || state.Restarts != 0 {
		t.Errorf("state %+v, want epoch 1 taken over from pid %d", state, pid)
	}
	if _, alive := startTime(pid); alive {
		t.Errorf("envoy of epoch 0 (pid %d) is still there", pid)
	}
	stop()
	if left := running(w.dir); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
}

func TestStateFileOfAnotherProcessIsNotBelieved(t *testing.T) {
	self, ok := startTime(os.Getpid())
	if !ok {
		t.Fatal("no start time of this process")
	}
	row := func(pid int, start uint64, boot string) string {
		return `[{"pid":` + strconv.Itoa(pid) + `,"start":` + strconv.FormatUint(start, 10) + `,"boot":"` + boot + `","live":true}]`
	}
	for name, c := range map[string]struct {
		content string
		found   int
		fails   bool
	}{
		"the same process":                {row(os.Getpid(), self, bootID()), 1, false},
		"its number given to another one": {row(os.Getpid(), self-1, bootID()), 0, false},
		"before a reboot":                 {row(os.Getpid(), self, "other"), 0, false},
		"gone":                            {row(1<<22+1, self, bootID()), 0, false},
		"init":                            {row(1, self, bootID()), 0, false},
		"half written":                    {`[{"pid":`, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := &dataDir{path: t.TempDir()}
			if err := d.write(d.file(stateFile), []byte(c.content)); err != nil {
				t.Fatal(err)
			}
			got, err := d.recall()
			if len(got) != c.found || (err != nil) != c.fails {
				t.Errorf("recall: %v, %v", got, err)
			}
		})
	}
}
