package proxy

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluicegw/sluice/model"
)

// The test binary also plays two other parts, chosen by the environment: a
// Sluice that can be killed (childEnv: Envoy, data directory, xDS socket and
// whether to keep Envoy, separated by colons), and a guard that kills what is
// left when the tests die (guardEnv: the folder of all tests).
const (
	childEnv = "SLUICE_PROXY_TEST_CHILD"
	guardEnv = "SLUICE_PROXY_TEST_GUARD"
	rootEnv  = "SLUICE_PROXY_TEST_ROOT"
)

func TestMain(m *testing.M) {
	if v := os.Getenv(childEnv); v != "" {
		os.Exit(child(v))
	}
	if root := os.Getenv(guardEnv); root != "" {
		_, _ = io.Copy(io.Discard, os.Stdin)
		killAll(root)
		os.Exit(0)
	}
	os.Exit(guarded(m))
}

// guarded runs the tests and fails when they leave an Envoy or a goroutine.
func guarded(m *testing.M) int {
	root, err := os.MkdirTemp("", "px")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(root)
	os.Setenv(rootEnv, root)
	guard := exec.Command(os.Args[0])
	guard.Env = append(os.Environ(), guardEnv+"="+root)
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	life, err := guard.StdinPipe()
	if err == nil {
		err = guard.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start guard:", err)
		return 1
	}
	defer func() {
		_ = life.Close()
		_ = guard.Wait()
	}()
	code := m.Run()
	if left := killAll(root); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "left running and killed:", left)
		code = 1
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// killAll kills every process whose arguments name a file below root.
func killAll(root string) []int {
	var killed []int
	for _, pid := range running(root) {
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed = append(killed, pid)
		}
	}
	return killed
}

// running lists the living processes whose arguments name a file below root.
func running(root string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		raw, _ := os.ReadFile(f)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if _, alive := startTime(pid); alive && strings.Contains(string(raw), root+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// child is a Sluice reduced to its supervisor; it runs until it is killed.
func child(v string) int {
	f := strings.Split(v, ":")
	s := New(Options{
		Binary: Binary{Path: f[0]}, DataDir: f[1], XDSSocket: f[2], KeepEnvoy: f[3] == "keep",
		NodeID: "n", Cluster: "c", Concurrency: 1, DrainTime: time.Second, Settings: model.DefaultSettings(),
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err := s.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return 1
}

// tempDir returns a folder whose path leaves room for sockets.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(os.Getenv(rootEnv), "")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// eventually polls until ok is true, and fails the test after a minute.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		case <-tick.C:
		}
	}
}
