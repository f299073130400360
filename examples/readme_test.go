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
	"sync"
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
	// mirrorsLag is how long a copy of a request may take to be counted, as
	// nobody waits for it.
	mirrorsLag = 10 * time.Second
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
	build := exec.Command("go", "build", "-o", dir+"/", "../cmd/sluice", "./backends")
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
	if len(readmes) < 7 {
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
	t       *testing.T
	root    string
	readme  string // text
	env     []string
	admin   string
	run     *exec.Cmd // the command in front, nil before
	ended   chan struct{}
	outputs *output
}

func newDesk(t *testing.T, name string) *desk {
	t.Helper()
	root, err := os.MkdirTemp("", "ex") // short: unix sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	d := &desk{t: t, root: root, outputs: &output{}}
	if err := os.Symlink(os.Getenv(binariesVariable), filepath.Join(root, "bin")); err != nil {
		t.Fatal(err)
	}
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

// move maps what the READMEs name to what is free.
type move struct {
	ports  map[string]string
	folder string // instead of /tmp/shop
}

func newMove(t *testing.T, root string) move {
	t.Helper()
	m := move{ports: map[string]string{}, folder: filepath.Join(root, "shop")}
	taken := map[int]bool{}
	for _, port := range []string{"8080", "8081", "9001", "9002", "9003", "9900"} {
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
	return regexp.MustCompile(`\b(8080|8081|900[1-3])\b`).ReplaceAllStringFunc(s, func(p string) string { return m.ports[p] })
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
	if !slices.ContainsFunc(steps, step.inFront) {
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

// start runs the command in front and waits until the gateway is ready.
func (d *desk) start(s step) {
	// Its end is stop, not that of the test's context, which comes before.
	cmd := d.shell(context.WithoutCancel(d.t.Context()), "exec "+s.command)
	cmd.Stdout, cmd.Stderr = d.outputs, d.outputs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.run, d.ended = cmd, make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(d.ended)
	}()
	d.t.Cleanup(d.stop)
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !d.ready() {
		select {
		case <-tick.C:
		case <-d.ended:
			d.t.Fatalf("README.md:%d: the command has ended", s.line)
		case <-deadline:
			d.t.Fatalf("README.md:%d: sluice is not ready after %s", s.line, patience)
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
func (d *desk) stop() {
	_ = d.run.Process.Signal(syscall.SIGINT)
	select {
	case <-d.ended:
	case <-time.After(patience):
		_ = syscall.Kill(-d.run.Process.Pid, syscall.SIGKILL)
		<-d.ended
		d.t.Error("Ctrl-C did not end it")
	}
	if d.t.Failed() {
		d.t.Logf("output of the first terminal:\n%s", d.outputs)
	}
}

// try types one command. What a backend has counted is asked again for a while:
// copies of requests arrive when they do.
func (d *desk) try(s step) error {
	until := time.Now()
	if strings.HasSuffix(s.command, "/count") {
		until = until.Add(mirrorsLag)
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

// output collects what a terminal shows.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
