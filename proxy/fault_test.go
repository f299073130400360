package proxy

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegw/sluice/model"
)

func TestBackoffDoublesAndForgets(t *testing.T) {
	var b backoff
	var got []time.Duration
	for _, live := range []time.Duration{0, time.Second, 0, 29 * time.Second, 0, 0, 0, 0, 0, 30 * time.Second, 0} {
		got = append(got, b.after(live)/time.Millisecond)
	}
	want := []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000, 100, 200}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("waits in ms (-want +got):\n%s", diff)
	}
}

// Who is killed again and again while it serves is not kept away for long; who
// does not come up at all is.
func TestBackoffIsShortForAnEnvoyThatWasLive(t *testing.T) {
	for name, c := range map[string]struct{ live, want []time.Duration }{
		"killed many times": {
			[]time.Duration{1, 1, 1, 1, 1, 1, 1, 1},
			[]time.Duration{100, 200, 400, 800, 1000, 1000, 1000, 1000},
		},
		"live at last after many starts that went wrong": {
			[]time.Duration{0, 0, 0, 0, 0, 0, 0, 0, 1},
			[]time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 10000, 1000},
		},
		"no longer comes up after a kill": {
			[]time.Duration{1, 1, 1, 1, 1, 0, 0, 0, 0, 0},
			[]time.Duration{100, 200, 400, 800, 1000, 2000, 4000, 8000, 10000, 10000},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b backoff
			var got []time.Duration
			for _, live := range c.live {
				got = append(got, b.after(live*time.Second)/time.Millisecond)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("waits in ms (-want +got):\n%s", diff)
			}
		})
	}
}

// timeline is a clock that stands still. Back-off waits are handed to the
// test; all others use the real clock.
func timeline() (Clock, chan chan time.Time) {
	waits := make(chan chan time.Time)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return Clock{
		Now: func() time.Time { return now },
		After: func(d time.Duration) <-chan time.Time {
			if d < backoffFirst || d > backoffMost {
				return time.After(d)
			}
			c := make(chan time.Time, 1)
			waits <- c
			return c
		},
	}, waits
}

func TestEnvoyThatEndsAtOnceIsReportedAndRetried(t *testing.T) {
	for name, keep := range map[string]bool{"as a child": false, "detached": true} {
		t.Run(name, func(t *testing.T) {
			first, second := "exit status 3", "exit status 4"
			if keep {
				first, second = unknownStatus, unknownStatus
			}
			clock, waits := timeline()
			path := script(t, `echo an access; echo '[2026-01-02 03:04:05.006][7][critical][main] [source/server/server.cc:1] cannot do it' >&2; exit 3`)
			var out bytes.Buffer
			var phases []Phase
			s, stop := supervise(t, Options{
				Binary: Binary{Path: path}, DataDir: filepath.Join(tempDir(t), "d"), XDSSocket: "/nowhere/x", NodeID: "n", Cluster: "c",
				DrainTime: time.Hour, Settings: model.DefaultSettings(), Clock: clock, KeepEnvoy: keep, Output: &out,
				OnState: func(s State) { phases = append(phases, s.Phase) },
			})
			wait := <-waits
			state := s.State()
			if state.Phase != PhaseBackingOff || !state.RetryAt.Equal(clock.Now().Add(100*time.Millisecond)) {
				t.Errorf("state %+v", state)
			}
			for _, part := range []string{first, "cannot do it"} {
				if !strings.Contains(state.Reason, part) {
					t.Errorf("reason %q does not say %q", state.Reason, part)
				}
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			wait <- clock.Now()
			wait = <-waits
			state = s.State()
			if state.Restarts != 1 || !strings.Contains(state.Reason, "no such file") || !state.RetryAt.Equal(clock.Now().Add(200*time.Millisecond)) {
				t.Errorf("state without a binary %+v", state)
			}
			if err := os.WriteFile(path, []byte("#!/bin/sh\nexit 4\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			wait <- clock.Now()
			<-waits
			if state = s.State(); state.Restarts != 2 || state.LastExit == nil || state.LastExit.Status != second {
				t.Errorf("state with a binary again %+v", state)
			}
			stop()
			if out.String() != "an access\n" {
				t.Errorf("output %q", out.String())
			}
			want := []Phase{PhaseStarting, PhaseBackingOff, PhaseBackingOff, PhaseStarting, PhaseBackingOff, PhaseStopped}
			if diff := cmp.Diff(want, phases); diff != "" {
				t.Errorf("phases (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDataDirectoryThatCannotBeUsed(t *testing.T) {
	dir := tempDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := openDataDir(filepath.Join(dir, "taken"))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.close()
	for name, c := range map[string]struct{ path, want string }{
		"a file in its place":   {file, "not a directory"},
		"below a file":          {filepath.Join(file, "d"), "not a directory"},
		"used by another":       {taken.path, "in use by another Sluice"},
		"too long for a socket": {filepath.Join(dir, strings.Repeat("x", 90)), "choose a shorter one"},
	} {
		t.Run(name, func(t *testing.T) {
			err := New(Options{DataDir: c.path}).Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) {
				t.Errorf("Run: %v, want the path and %q", err, c.want)
			}
		})
	}
}

func TestFileIsReplacedOrLeftAlone(t *testing.T) {
	d := &dataDir{path: t.TempDir()}
	for _, content := range []string{"one", "two"} {
		if err := d.write(d.file("f"), []byte(content)); err != nil {
			t.Fatal(err)
		}
		if raw, err := os.ReadFile(d.file("f")); err != nil || string(raw) != content {
			t.Errorf("read %q, %v; want %q", raw, err, content)
		}
	}
	if err := os.Mkdir(d.file("in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.write(d.file("in the way"), nil); err == nil || !strings.Contains(err.Error(), "in the way") {
		t.Errorf("write over a directory: %v", err)
	}
	left, _ := filepath.Glob(d.file(".new-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestParseLine(t *testing.T) {
	for line, want := range map[string]logLine{
		"[2026-11-24 06:19:13.541][18671][warning][main] [source/server/server.cc:1028] caught ENVOY_SIGTERM": {slog.LevelWarn, "main", "caught ENVOY_SIGTERM"},
		"[2026-11-24 06:19:13.541][1][info][upstream] [a/b.cc:1] cds: [x] added":                              {slog.LevelDebug, "upstream", "cds: [x] added"},
		"[2026-11-24 06:19:13.541][1][critical][envoy_bug] [./a.h:1] bug":                                     {slog.LevelError, "envoy_bug", "bug"},
		"[2026-11-24 06:19:13.541][1][error][config] [a.cc:1] ":                                               {slog.LevelError, "config", ""},
		"envoy: error while loading shared libraries":                                                         {slog.LevelWarn, "", "envoy: error while loading shared libraries"},
	} {
		if got := parseLine(line); got != want {
			t.Errorf("%s: %+v, want %+v", line, got, want)
		}
	}
}

func TestLinesAreSplitAndBounded(t *testing.T) {
	var got []string
	w := &lineWriter{line: func(s string) { got = append(got, s) }}
	for _, part := range []string{"a", "b\nc\n\nd", strings.Repeat("x", 2*maxLineBytes), "\ne"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	w.flush()
	want := []string{"ab", "c", ("d" + strings.Repeat("x", maxLineBytes))[:maxLineBytes], "e"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
