// Package e2e runs the program itself, as a user does, against a real Envoy:
// folders in, requests answered. What goes in: YAML written by the tests. What
// comes out: what clients and `sluice` commands see. It asserts intent from
// outside and knows nothing of the parts.
package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicegw/sluice/test/envoytest"
)

// binaryVariable names the program under test to the tests of this process.
const binaryVariable = "SLUICE_E2E_BINARY"

// worldsAtOnce is how many tests run at a time: each has an Envoy of its own.
const worldsAtOnce = "3"

// TestMain builds the program once.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", worldsAtOnce); err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "sluice-e2e")
	if err != nil {
		panic(err)
	}
	path := filepath.Join(dir, "sluice")
	build := exec.Command("go", "build", "-o", path, "github.com/sluicegw/sluice/cmd/sluice")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		os.RemoveAll(dir)
		fmt.Fprintln(os.Stderr, "build sluice:", err)
		os.Exit(1)
	}
	os.Setenv(binaryVariable, path)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// binary is the program under test.
func binary() string { return os.Getenv(binaryVariable) }

// patience bounds every wait; a test that needs it all has failed.
const patience = 30 * time.Second

// world is a folder and the program that serves it.
type world struct {
	t     *testing.T
	dir   string // the folder
	data  string
	admin string
	port  int // of the listener in edge
	cmd   *exec.Cmd
	log   *logBuffer
	done  chan struct{} // closed when the program has ended
	exit  error         // valid once done is closed
}

// newWorld makes a folder with the given files; "$PORT" in them stands for a
// free port.
func newWorld(t *testing.T, files map[string]string) *world {
	t.Helper()
	data, err := os.MkdirTemp("", "sl") // short: unix sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(data) })
	w := &world{t: t, dir: t.TempDir(), data: data, admin: fmt.Sprintf("127.0.0.1:%d", freePort(t)), port: freePort(t)}
	for name, text := range files {
		w.write(name, text)
	}
	return w
}

// run starts the program and waits until it serves.
func (w *world) run(flags ...string) *world {
	w.t.Helper()
	w.start(flags...)
	w.ready()
	return w
}

// ready waits until the program serves.
func (w *world) ready() {
	w.t.Helper()
	w.eventually("ready", func() error {
		code, body, err := fetch("http://"+w.admin+"/readyz", "")
		if err != nil {
			return err
		}
		if code != http.StatusOK {
			return fmt.Errorf("readyz %d: %s", code, body)
		}
		return nil
	})
}

// start starts the program and does not wait.
func (w *world) start(flags ...string) {
	w.t.Helper()
	w.spawn(exec.Command(binary(), w.args(flags...)...))
}

// args are those of `sluice run`; flags come last, so they win.
func (w *world) args(flags ...string) []string {
	args := []string{
		"run", "--envoy", envoytest.Binary(w.t), "--admin", w.admin, "--data-dir", w.data,
		"--concurrency", "1", "--drain-time", "3s",
	}
	return append(append(args, flags...), w.dir)
}

// in returns the world as a subtest uses it.
func (w *world) in(t *testing.T) *world {
	sub := *w
	sub.t = t
	return &sub
}

func (w *world) spawn(cmd *exec.Cmd) {
	w.t.Helper()
	w.log = &logBuffer{}
	cmd.Stdout, cmd.Stderr = w.log, w.log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.cmd, w.done = cmd, make(chan struct{})
	done := w.done
	go func() {
		w.exit = cmd.Wait()
		close(done)
	}()
	w.t.Cleanup(func() {
		w.stop(syscall.SIGTERM)
		if w.t.Failed() {
			w.t.Logf("log of sluice:\n%s", w.log.tail(8000))
		}
	})
}

// stop signals the program and waits for its end.
func (w *world) stop(sig syscall.Signal) {
	select {
	case <-w.done:
		return
	default:
	}
	_ = w.cmd.Process.Signal(sig)
	select {
	case <-w.done:
	case <-time.After(patience):
		_ = syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL)
		<-w.done
		w.t.Errorf("sluice did not end on %v", sig)
	}
}

// write puts a file into the folder by an atomic rename.
func (w *world) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	text = strings.ReplaceAll(text, "$PORT", fmt.Sprint(w.port))
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(name string) {
	w.t.Helper()
	if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
		w.t.Fatal(err)
	}
}

// eventually polls until check returns nil.
func (w *world) eventually(what string, check func() error) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-w.done:
			w.t.Fatalf("%s: sluice ended: %v; last answer: %v", what, w.exit, err)
		default:
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		pause(5 * time.Millisecond)
	}
}

// pause is the beat of polls; nothing is asserted about it.
func pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// get asks the listener for a path of a host.
func (w *world) get(host, path string) (int, string, error) {
	return fetch(fmt.Sprintf("http://127.0.0.1:%d%s", w.port, path), host)
}

// answers waits until the host answers so.
func (w *world) answers(host, path string, code int, body string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s%s answers %d %q", host, path, code, body), func() error {
		c, b, err := w.get(host, path)
		if err != nil {
			return err
		}
		if c != code || !strings.Contains(b, body) {
			return fmt.Errorf("it answers %d %q", c, b)
		}
		return nil
	})
}

// sluice runs another command of the program against this one.
func (w *world) sluice(args ...string) (code int, out string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(), args...)
	cmd.Env = append(os.Environ(), "SLUICE_ADMIN="+w.admin, "SLUICE_DATA_DIR="+w.data)
	b, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		w.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(b)
}

// wait runs `sluice wait` and expects it to succeed.
func (w *world) wait() {
	w.t.Helper()
	if code, out := w.sluice("wait", "--timeout", "20s"); code != 0 {
		w.t.Fatalf("sluice wait: exit %d: %s", code, out)
	}
}

// problem waits until the status has a problem with this reason that mentions
// all words, and returns its message.
func (w *world) problem(reason string, words ...string) string {
	w.t.Helper()
	var found string
	w.eventually("problem "+reason, func() error {
		doc, err := w.askStatus()
		if err != nil {
			return err
		}
		for _, p := range doc.all() {
			if p.Reason == reason && containsAll(p.text, words) {
				found = p.text
				return nil
			}
		}
		return fmt.Errorf("problems are %v", doc.all())
	})
	return found
}

func containsAll(s string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(s, w) {
			return false
		}
	}
	return true
}

// statusDoc is the part of GET /status that tests look at.
type statusDoc struct {
	Generation uint64
	Envoy      struct {
		Phase, Reason string
		PID, Epoch    int
		Restarts      int
	}
	Objects []struct {
		Kind, Namespace, Name string
		Live, Of              int
		Problems              []problemDoc
	}
	Problems []problemDoc
}

type problemDoc struct {
	Field, Reason, Severity, Message, File string
	Line                                   int
	text                                   string
}

func (d statusDoc) all() []problemDoc {
	var out []problemDoc
	add := func(object string, ps []problemDoc) {
		for _, p := range ps {
			p.text = fmt.Sprintf("%s:%d: %s: %s: %s", p.File, p.Line, object, p.Field, p.Message)
			out = append(out, p)
		}
	}
	add("", d.Problems)
	for _, o := range d.Objects {
		add(o.Kind+" "+o.Namespace+"/"+o.Name, o.Problems)
	}
	return out
}

// status returns the status now.
func (w *world) status() statusDoc {
	w.t.Helper()
	doc, err := w.askStatus()
	if err != nil {
		w.t.Fatal(err)
	}
	return doc
}

func (w *world) askStatus() (doc statusDoc, err error) {
	_, body, err := fetch("http://"+w.admin+"/status", "")
	if err != nil {
		return doc, err
	}
	return doc, json.Unmarshal([]byte(body), &doc)
}

// becomes waits until the status fits and returns it.
func (w *world) becomes(what string, fits func(statusDoc) bool) (doc statusDoc) {
	w.t.Helper()
	w.eventually(what, func() (err error) {
		if doc, err = w.askStatus(); err == nil && !fits(doc) {
			err = fmt.Errorf("envoy is %+v, problems are %v", doc.Envoy, doc.all())
		}
		return err
	})
	return doc
}

// flawless waits until the status has no problem.
func (w *world) flawless() {
	w.t.Helper()
	w.becomes("no problem", func(d statusDoc) bool { return len(d.all()) == 0 })
}

// fetch gets a URL without keeping the connection.
func fetch(url, host string) (int, string, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	return send(req, host)
}

// send sends a request without keeping the connection.
func send(req *http.Request, host string) (int, string, error) {
	req.Host = host
	req.Close = true
	client := &http.Client{
		Timeout:       5 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if loc := resp.Header.Get("Location"); loc != "" {
		b = append(b, (" " + loc)...)
	}
	if why := resp.Header.Get("x-sluice-reason"); why != "" {
		b = append(b, (" " + why)...)
	}
	return resp.StatusCode, string(b), err
}

// backend is a real HTTP server that answers with its name, the host and the
// path it saw.
func backend(t *testing.T, name string) (port int) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", name, r.Host, r.URL.RequestURI())
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

// freePort returns a port that nobody listens on now.
func freePort(t *testing.T) int {
	t.Helper()
	return envoytest.FreePort(t)
}

// logBuffer keeps what a program prints.
type logBuffer struct{ envoytest.Output }

func (l *logBuffer) tail(n int) string {
	s := l.String()
	return s[max(0, len(s)-n):]
}

// The YAML that most tests start from.

// edge is a gateway on the free port for the given hosts.
func edge(hosts ...string) string {
	return `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers:
  - port: {number: $PORT, name: http, protocol: HTTP}
    bind: 127.0.0.1
    hosts: ["` + strings.Join(hosts, `", "`) + `"]
`
}

// service is a static service on a loopback port.
func service(host string, port int) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s}
spec:
  hosts: [%s]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, ports: {http: %d}}]
`, strings.ReplaceAll(host, ".", "-"), host, port)
}

// routes is a virtual service of one host behind edge, with rules as YAML.
func routes(name, host, rules string) string {
	return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ` + name + `}
spec:
  hosts: ["` + host + `"]
  gateways: [edge]
  http:
` + rules
}

// to is one rule that sends everything to a service.
func to(host string) string {
	return "  - route: [{destination: {host: " + host + "}}]\n"
}
