package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sluicegw/sluice/test/envoytest"
)

// Whole objects that cannot be used.
func TestBadObjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{"gateway.yaml": edge("*")})).run()
	defer w.neighbour().unharmed()
	other := func(spec string) string {
		return "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: other}\nspec:\n  " + spec + " # here\n"
	}
	port := func(number string) string {
		return strings.Replace(gateway("other", "other.test"), "port: {number: $PORT", "port: # here\n      {number: "+number, 1)
	}
	for _, c := range []struct {
		name, text, reason string
		words              []string
	}{
		{"unknown kind", "apiVersion: networking.istio.io/v1 # here\nkind: Gatewya\nmetadata: {name: other}\n", "UnknownKind", []string{"Gatewya"}},
		{"unknown group", "apiVersion: example.com/v1 # here\nkind: Gateway\nmetadata: {name: other}\n", "UnknownKind", []string{"example.com"}},
		{"unknown version", "apiVersion: networking.istio.io/v9 # here\nkind: Gateway\nmetadata: {name: other}\n", "UnsupportedVersion", []string{"v9"}},
		{"no name", "apiVersion: networking.istio.io/v1 # here\nkind: Gateway\nspec: {}\n", "MissingField", []string{"name"}},
		{"unknown field", other("serves: []"), "UnknownField", []string{"spec.serves"}},
		{"wrong type", other("servers: 7"), "WrongType", []string{"spec.servers"}},
		{"port 0", port("0"), "InvalidValue", []string{"port.number", "0"}},
		{"port -1", port("-1"), "InvalidValue", []string{"port.number", "-1"}},
		{"port 65536", port("65536"), "InvalidValue", []string{"port.number", "65536"}},
		{"port 99999999999", port("99999999999"), "InvalidValue", []string{"port.number", "99999999999"}},
		{"port of the wrong type", port("eighty"), "WrongType", []string{"port.number"}},
		{"hosts of the wrong type", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: other}\nspec:\n  hosts: 7 # here\n  http: []\n", "WrongType", []string{"spec.hosts"}},
		{"host that is none", strings.Replace(routes("other", "a..test", to("neighbour.internal")), `"]`, `"] # here`, 1), "InvalidValue", []string{"spec.hosts[0]", "a..test"}},
		{"bad endpoint", strings.Replace(service("other.internal", 9), "endpoints: [{address: 127.0.0.1", "endpoints: # here\n    [{address: not an address", 1), "InvalidValue", []string{"spec.endpoints[0].address"}},
		{"bad settings", "apiVersion: sluice.dev/v1\nkind: Settings\nmetadata: {name: s}\nspec:\n  maxHeapBytes: 12 parsecs # here\n", "InvalidValue", []string{"spec.maxHeapBytes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.in(t)
			w.write("bad.yaml", c.text)
			at := filepath.Join(w.dir, "bad.yaml")
			said := w.problem(c.reason, append(c.words, at)...)
			if line := lineOf(c.text, "# here"); !strings.HasPrefix(said, fmt.Sprintf("%s:%d:", at, line)) && !strings.HasPrefix(said, fmt.Sprintf("%s:%d:", at, line+1)) {
				t.Errorf("the problem is not about line %d or the next: %s", line, said)
			}
			w.remove("bad.yaml")
			w.flawless()
		})
	}
}

// The older of two stays, the other is reported, and takes over when the older
// is gone.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{
		"0-gateway.yaml": gateway("edge", "neighbour.test", "twice.test"),
		"b.yaml":         service("b.internal", backend(t, "b")),
		"b-route.yaml":   routes("twice", "twice.test", to("b.internal")),
	})).run()
	defer w.neighbour().unharmed()

	// One object in two files.
	w.write("c-route.yaml", routes("twice", "twice.test", "  - directResponse: {status: 418}\n"))
	w.problem("DuplicateObject", "c-route.yaml:1", "b-route.yaml")
	w.answersNow("twice.test", "/", http.StatusOK, "b twice.test")
	w.remove("b-route.yaml")
	w.answers("twice.test", "/", http.StatusTeapot, "")
	w.flawless()
	// Who comes later takes nothing, whatever its name.
	w.write("a-twice.yaml", routes("twice", "twice.test", to("b.internal")))
	w.problem("DuplicateObject", "a-twice.yaml:1", "c-route.yaml")
	w.answersNow("twice.test", "/", http.StatusTeapot, "")
	w.write("a-route.yaml", routes("a", "twice.test", to("b.internal")))
	w.problem("UnreachableRule", "a-route.yaml")
	w.answersNow("twice.test", "/", http.StatusTeapot, "")
	w.remove("c-route.yaml")
	w.answers("twice.test", "/", http.StatusOK, "b twice.test")
	w.remove("a-route.yaml")
	w.flawless()

	// One host of one port in two gateways: the rules of both count, the older first.
	w.write("1-gateway.yaml", gateway("second", "twice.test", "once.test"))
	w.write("d-route.yaml", strings.ReplaceAll(routes("d", "*", "  - directResponse: {status: 418}\n"), "[edge]", "[second]"))
	w.answers("once.test", "/", http.StatusTeapot, "")
	w.answersNow("twice.test", "/", http.StatusOK, "b twice.test")
	w.write("0-gateway.yaml", gateway("edge", "neighbour.test"))
	w.answers("twice.test", "/", http.StatusTeapot, "")
}

// Two gateways share a port when their hosts differ; two route sets share a
// host, the older's rules first; a wider bind of the same port takes nothing
// from the narrower.
func TestSharing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{
		"0-gateway.yaml": edge("*"),
		"a.yaml":         service("a.internal", backend(t, "a")),
		"route-1.yaml":   routes("first", "shared.test", "  - match: [{uri: {prefix: /one}}]\n    directResponse: {status: 418}\n"),
	})).run()
	defer w.neighbour().unharmed()
	w.write("route-2.yaml", routes("second", "shared.test", "  - match: [{uri: {prefix: /one/two}}]\n    directResponse: {status: 410}\n"+to("a.internal")))
	w.wait()
	w.answersNow("shared.test", "/one/two", http.StatusTeapot, "")
	w.answersNow("shared.test", "/else", http.StatusOK, "a shared.test")

	wide := strings.Replace(gateway("wide", "shared.test"), "    bind: 127.0.0.1\n", "", 1)
	w.write("1-gateway.yaml", wide+"---\n"+
		strings.ReplaceAll(routes("wide", "shared.test", "  - directResponse: {status: 402}\n"), "[edge]", "[wide]"))
	w.wait()
	w.answersNow("shared.test", "/else", http.StatusOK, "a shared.test")
	w.remove("1-gateway.yaml")
	w.wait()
	w.answersNow("shared.test", "/else", http.StatusOK, "a shared.test")
}

// Cycles are reported and hang nothing.
func TestCycles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"),
		"service.yaml": service("a.internal", backend(t, "a")),
	})).run()
	defer w.neighbour().unharmed()
	delegate := func(to string) string {
		return "  - match: [{uri: {prefix: /go}}]\n    delegate: {name: " + to + "}\n" + "  - route: [{destination: {host: a.internal}}]\n"
	}
	w.write("one.yaml", routes("one", "one.test", delegate("two")))
	w.write("two.yaml", routes("two", "two.test", delegate("one")))
	w.problem("DelegateMissing", "one.yaml", "spec.http[0].delegate", "default/two")
	w.problem("DelegateMissing", "two.yaml", "spec.http[0].delegate", "default/one")
	w.answers("one.test", "/", http.StatusOK, "a one.test")
	w.answers("two.test", "/", http.StatusOK, "a two.test")
	w.answersNow("one.test", "/go", http.StatusInternalServerError, "DelegateMissing")
	w.write("root.yaml", routes("root", "root.test", delegate("ring")))
	w.write("ring.yaml", child("ring", delegate("chain")))
	w.write("chain.yaml", child("chain", delegate("ring")))
	w.problem("InvalidValue", "ring.yaml", "spec.http[0].delegate")
	w.problem("InvalidValue", "chain.yaml", "spec.http[0].delegate")
	w.answers("root.test", "/go", http.StatusInternalServerError, "InvalidValue")
	w.answersNow("root.test", "/", http.StatusOK, "a root.test")
	// A folder that contains itself is read once.
	if err := os.Symlink(w.dir, filepath.Join(w.dir, "again")); err != nil {
		t.Fatal(err)
	}
	w.write("three.yaml", routes("three", "three.test", to("a.internal")))
	w.answers("three.test", "/", http.StatusOK, "a three.test")
}

// A route to a destination that does not exist answers 503 and says why, and
// heals when the destination appears.
func TestMissingDestinationAppears(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"),
		"service.yaml": service("a.internal", backend(t, "a")),
		"routes.yaml":  routes("r", "r.test", "  - match: [{uri: {prefix: /a}}]\n"+strings.Replace(to("a.internal"), "  - ", "    ", 1)+to("late.internal")),
	})).run()
	defer w.neighbour().unharmed()
	for range 3 {
		w.problem("DestinationMissing", "routes.yaml", "spec.http[1].route[0].destination", "late.internal")
		w.answers("r.test", "/b", http.StatusServiceUnavailable, "DestinationMissing")
		w.answersNow("r.test", "/a", http.StatusOK, "a r.test")
		w.write("late.yaml", service("late.internal", backend(t, "late")))
		w.wait()
		w.answersNow("r.test", "/b", http.StatusOK, "late r.test")
		w.flawless()
		w.remove("late.yaml")
	}
}

// A port that another process holds is reported, tried again, and taken when it
// is free; other ports do not notice.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	files := withNeighbour(t, map[string]string{"gateway.yaml": edge("*"), "service.yaml": service("a.internal", backend(t, "a"))})
	w := newWorld(t, files)
	other := w.elsewhere(taken.Addr().(*net.TCPAddr).Port)
	other.write("other.yaml", gateway("other", "other.test")+"---\n"+
		strings.ReplaceAll(routes("other", "other.test", to("a.internal")), "[edge]", "[other]"))
	w.run()
	defer w.neighbour().unharmed()
	said := w.problem("BindFailed", "other.yaml", "Gateway default/other", itoa(other.port))
	if !strings.Contains(said, "in use") {
		t.Errorf("the problem does not say that the port is in use: %s", said)
	}
	if code, out := w.sluice("wait", "--timeout", "1s"); code != 1 || !strings.Contains(out, "Gateway default/other") {
		t.Errorf("sluice wait: exit %d: %s", code, out)
	}
	// Edits of others are not held up.
	w.write("more.yaml", routes("more", "more.test", to("a.internal")))
	w.answers("more.test", "/", http.StatusOK, "a more.test")
	taken.Close()
	other.w(w).answers("other.test", "/", http.StatusOK, "a other.test")
	w.flawless()
	w.wait()
}

// Envoy shares its ports with every process of the same user that asks for it: a
// second gateway on a port waits until it is free, takes no connection of the
// first, and says whose it is.
func TestTwoGatewaysOnOnePort(t *testing.T) {
	t.Parallel()
	files := func(name string) map[string]string {
		return map[string]string{
			"gateway.yaml": edge("*"), "service.yaml": service("a.internal", backend(t, name)),
			"route.yaml": routes("a", "a.test", to("a.internal")),
		}
	}
	first := newWorld(t, files("first")).run().settled()
	first.answersNow("a.test", "/", http.StatusOK, "first")
	second := newWorld(t, nil)
	second.port = first.port
	for name, text := range files("second") {
		second.write(name, text)
	}
	second.start()
	second.problem("BindFailed", "gateway.yaml", "Gateway default/edge", itoa(first.port), "in use by envoy (pid "+itoa(first.running())+")")
	for range 50 {
		first.answersNow("a.test", "/", http.StatusOK, "first")
	}
	first.stop(syscall.SIGTERM)
	second.answers("a.test", "/", http.StatusOK, "second")
	second.flawless()
	second.wait()
	// A hot restart shares the port on purpose.
	second.hup()
	second.becomes("the next epoch", func(d statusDoc) bool { return d.Envoy.Epoch == 1 && d.Envoy.Phase == "Running" })
	second.answersNow("a.test", "/", http.StatusOK, "second")
	second.flawless()
}

// w takes over the process of another view of the same world.
func (w *world) w(of *world) *world {
	w.cmd, w.log, w.done = of.cmd, of.log, of.done
	return w
}

// nobody is a user without rights, known everywhere.
const nobody = 65534

// A privileged port is served by whoever may, else reported; so is a file that
// only others may read.
func TestWithoutRights(t *testing.T) {
	t.Parallel()
	const port = 81
	w := newWorld(t, withNeighbour(t, map[string]string{"gateway.yaml": edge("*"), "service.yaml": service("a.internal", backend(t, "a"))}))
	other := w.elsewhere(port)
	other.write("other.yaml", gateway("other", "other.test")+"---\n"+
		strings.ReplaceAll(routes("other", "other.test", to("a.internal")), "[edge]", "[other]"))
	open, err := os.MkdirTemp("", "open")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(open) })
	copyFile(t, binary(), filepath.Join(open, "sluice"))
	copyFile(t, envoytest.Binary(t), filepath.Join(open, "envoy"))
	dir := filepath.Join(open, "dir")
	if err := os.Rename(w.dir, dir); err != nil {
		t.Fatal(err)
	}
	w.dir = dir
	cmd := exec.Command(filepath.Join(open, "sluice"), w.args("--envoy", filepath.Join(open, "envoy"))...)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		give(t, open, w.data)
	}
	w.spawn(cmd)
	w.ready()
	defer w.neighbour().unharmed()
	secret := filepath.Join(w.dir, "secret.yaml")
	if err := os.WriteFile(secret, []byte(edge("*")), 0); err != nil {
		t.Fatal(err)
	}
	w.problem("UnreadableFile", secret, "permission denied")
	w.remove("secret.yaml")
	if unprivileged(t) <= port {
		other.w(w).answers("other.test", "/", http.StatusOK, "a other.test")
		return
	}
	w.problem("BindFailed", "other.yaml", "Gateway default/other", "127.0.0.1_81", "ermission denied")
	w.write("more.yaml", routes("more", "more.test", to("a.internal")))
	w.answers("more.test", "/", http.StatusOK, "a more.test")
	// On a port that it may take it serves.
	other.port = freePort(t)
	other.dir = w.dir
	other.write("other.yaml", gateway("other", "other.test")+"---\n"+
		strings.ReplaceAll(routes("other", "other.test", to("a.internal")), "[edge]", "[other]"))
	other.w(w).answers("other.test", "/", http.StatusOK, "a other.test")
	w.flawless()
}

// unprivileged is the first port that everybody may take.
func unprivileged(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// give makes nobody the owner of all below some folders.
func give(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			if err == nil {
				err = os.Chown(path, nobody, nobody)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// copyFile copies an executable.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, content, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}
