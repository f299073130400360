package examples

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicegw/sluice/test/envoytest"
)

const (
	// binariesVariable names the folder with the built programs to the tests of
	// this process.
	binariesVariable = "SLUICE_EXAMPLES_BIN"
	// patience bounds every wait; a test that needs it all has failed.
	patience = 30 * time.Second
	// lag is how long what nobody waits for may take: a copy of a request to be
	// counted, a certificate to be signed.
	lag = 10 * time.Second
)

// TestMain builds the programs once.
func TestMain(m *testing.M) {
	os.Exit(withBinaries(m.Run))
}

func withBinaries(run func() int) int {
	dir, err := os.MkdirTemp("", "sluice-examples")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	build := exec.Command("go", "build", "-o", dir+"/", "../cmd/sluice", "./backends", "./https/authority")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the programs:", err)
		return 1
	}
	if err := os.Setenv(binariesVariable, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run()
}

// Whoever types the commands of a README sees what it says.
func TestSteps(t *testing.T) {
	readmes, err := filepath.Glob("*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(readmes) < 8 {
		t.Fatalf("found %v", readmes)
	}
	for _, readme := range readmes {
		name := filepath.Dir(readme)
		t.Run(name, func(t *testing.T) { newDesk(t, name).work() })
	}
}

// desk is where the steps of one example are typed: a folder that looks like a
// checkout, with every port of the example moved to a free one.
type desk struct {
	t      *testing.T
	root   string
	readme string // text
	env    []string
	admin  string
}

func newDesk(t *testing.T, name string) *desk {
	t.Helper()
	root, err := os.MkdirTemp("", "ex") // short: unix sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	d := &desk{t: t, root: root}
	d.link(os.Getenv(binariesVariable), "bin")
	d.link("../.tools", ".tools")
	move := newMove(t, root)
	if err := copyTree(name, filepath.Join(root, "examples", name), move.text); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "examples", name, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	d.readme, d.admin = string(text), "127.0.0.1:"+move.ports["9900"]
	d.env = append(os.Environ(),
		"SLUICE_ADMIN="+d.admin, "SLUICE_DATA_DIR="+filepath.Join(root, "d"), "SLUICE_ENVOY="+envoytest.Binary(t))
	return d
}

// link gives the desk a folder that is elsewhere.
func (d *desk) link(folder, name string) {
	d.t.Helper()
	path, err := filepath.Abs(folder)
	if err == nil {
		err = os.Symlink(path, filepath.Join(d.root, name))
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// movedPorts are those of this machine that examples use, the admin API's too.
func movedPorts() []string {
	return []string{"8080", "8081", "8443", "9001", "9002", "9003", "9900", "14000", "15000"}
}

// move maps what the READMEs name to what is free.
type move struct {
	ports  map[string]string
	folder string // instead of /tmp/shop
}

func newMove(t *testing.T, root string) move {
	t.Helper()
	m := move{ports: map[string]string{}, folder: filepath.Join(root, "shop")}
	taken := map[int]bool{}
	for _, port := range movedPorts() {
		free := envoytest.FreePort(t)
		for taken[free] {
			free = envoytest.FreePort(t)
		}
		taken[free] = true
		m.ports[port] = strconv.Itoa(free)
	}
	return m
}

func (m move) text(s string) string {
	s = strings.ReplaceAll(s, "/tmp/shop", m.folder)
	return regexp.MustCompile(`\b(`+strings.Join(movedPorts(), "|")+`)\b`).ReplaceAllStringFunc(s, func(p string) string { return m.ports[p] })
}

// copyTree copies the files of a folder through change.
func copyTree(from, to string, change func(string) string) error {
	return filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, below), 0o755)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, below), []byte(change(string(text))), 0o644)
	})
}

// work types every command and checks what it prints.
func (d *desk) work() {
	steps, err := parseSteps(d.readme)
	if err != nil {
		d.t.Fatal(err)
	}
	if !slices.ContainsFunc(steps, step.gateway) {
		d.t.Fatal("no step runs sluice")
	}
	for _, s := range steps {
		if s.inFront() {
			d.start(s)
			continue
		}
		if err := d.try(s); err != nil {
			d.t.Fatalf("README.md:%d: $ %s\n%v", s.line, s.command, err)
		}
	}
}

// front is a command that runs in a terminal of its own.
type front struct {
	cmd    *exec.Cmd
	ended  chan struct{}
	output envoytest.Output
}

// start runs a command in front and waits until it is ready.
func (d *desk) start(s step) {
	// Its end is stop, not that of the test's context, which comes before.
	f := &front{cmd: d.shell(context.WithoutCancel(d.t.Context()), "exec "+s.command), ended: make(chan struct{})}
	f.cmd.Stdout, f.cmd.Stderr = &f.output, &f.output
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := f.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() {
		_ = f.cmd.Wait()
		close(f.ended)
	}()
	d.t.Cleanup(func() { f.stop(d.t) })
	ready := d.ready
	if !s.gateway() {
		ready = func() bool { return strings.Contains(f.output.String(), ": ready") }
	}
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-tick.C:
		case <-f.ended:
			d.t.Fatalf("README.md:%d: the command has ended", s.line)
		case <-deadline:
			d.t.Fatalf("README.md:%d: it is not ready after %s", s.line, patience)
		}
	}
}

func (d *desk) ready() bool {
	resp, err := http.Get("http://" + d.admin + "/readyz")
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// stop is the Ctrl-C of a README's end.
func (f *front) stop(t *testing.T) {
	_ = f.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-f.ended:
	case <-time.After(patience):
		_ = syscall.Kill(-f.cmd.Process.Pid, syscall.SIGKILL)
		<-f.ended
		t.Error("Ctrl-C did not end it")
	}
	if t.Failed() {
		t.Logf("output of %s:\n%s", f.cmd, &f.output)
	}
}

// try types one command. What settles by itself is asked again for a while.
func (d *desk) try(s step) error {
	until := time.Now()
	if s.settles() {
		until = until.Add(lag)
	}
	for {
		err := d.once(s)
		if err == nil || time.Now().After(until) {
			return err
		}
	}
}

func (d *desk) once(s step) error {
	ctx, cancel := context.WithTimeout(d.t.Context(), 3*patience)
	defer cancel()
	var faults bytes.Buffer
	cmd := d.shell(ctx, s.command)
	cmd.Stderr = &faults
	out, err := cmd.Output()
	if err == nil {
		err = s.check(string(out))
	}
	if err != nil {
		return fmt.Errorf("%w\nit printed:\n%s%s", err, out, faults.String())
	}
	return nil
}

// shell returns a command line as a person in the checkout would start it.
func (d *desk) shell(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	cmd.Dir, cmd.Env = d.root, d.env
	return cmd
}
