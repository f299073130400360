package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestStatusCommand(t *testing.T) {
	t.Parallel()
	files := shopFiles(t)
	faulty := routes("lost", "lost.test", "  - route:\n    - destination:\n        host: lost.internal # here\n")
	files["lost.yaml"] = faulty
	w := newWorld(t, files).run()
	defer w.neighbour().unharmed()
	w.problem("DestinationMissing", "lost.internal")
	w.becomes("running", func(d statusDoc) bool { return d.Envoy.Phase == "Running" })
	at := fmt.Sprintf("lost.yaml:%d", lineOf(faulty, "# here"))

	for _, c := range []struct {
		args []string
		want []string
		not  string
	}{
		{nil, []string{"envoy 1.", "Running", "KIND", "VirtualService", "neighbour", "1/1", at, "spec.http[0].route[0].destination", "lost.internal"}, "GENERATION"},
		{[]string{"-o", "table"}, []string{"DestinationRule", "127.0.0.1_"}, "GENERATION"},
		{[]string{"-o", "wide"}, []string{"GENERATION", "FILE", filepath.Join(w.dir, "shop/routes.yaml")}, "\x1b["},
	} {
		code, out := w.sluice(append([]string{"status"}, c.args...)...)
		if code != 0 || !containsAll(out, c.want) || strings.Contains(out, c.not) {
			t.Errorf("sluice status %v: exit %d, want the words %q and not %q:\n%s", c.args, code, c.want, c.not, out)
		}
	}
	for _, format := range []string{"json", "yaml"} {
		code, out := w.sluice("status", "-o", format)
		var doc statusDoc
		if err := yaml.Unmarshal([]byte(out), &doc); err != nil || code != 0 {
			t.Fatalf("sluice status -o %s: exit %d, %v:\n%s", format, code, err, out)
		}
		if (out[0] == '{') != (format == "json") || len(doc.Objects) != 7 || doc.Envoy.PID == 0 || len(doc.all()) != 1 {
			t.Errorf("sluice status -o %s is\n%s", format, out)
		}
	}
	if code, out := w.sluice("status", "-o", "xml"); code != 2 || !containsAll(out, []string{"xml", "table, wide, json or yaml"}) {
		t.Errorf("sluice status -o xml: exit %d: %s", code, out)
	}
}

func TestValidateCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{
		"gateway.yaml": edge("*"),
		"s.yaml":       service("a.internal", 9),
		"routes.yaml":  routes("good", "good.test", to("a.internal")),
	})
	if code, out := w.sluice("validate", w.dir); code != 0 || out != "" {
		t.Errorf("a folder without a fault: exit %d: %s", code, out)
	}
	w.write("gateway.yaml", strings.Replace(edge("*"), ", name: http", "", 1))
	if code, out := w.sluice("validate", w.dir); code != 0 || !containsAll(out, []string{"gateway.yaml:6: ", "spec.servers[0].port.name", "(warning)\n"}) {
		t.Errorf("a folder with a warning: exit %d: %s", code, out)
	}
	w.write("gateway.yaml", edge("*"))
	faulty := "# a comment\n" + service("b.internal", 9) + "---\n" + routes("bad", "bad.test", `  - match:
    - uri: {prefix: /a}
      headers:
        x-a:
          regex: "(" # here
    route: [{destination: {host: b.internal}}]
`)
	w.write("sub/faulty.yaml", faulty)
	path, line := filepath.Join(w.dir, "sub/faulty.yaml"), lineOf(faulty, "# here")

	code, out := w.sluice("validate", w.dir)
	if want := fmt.Sprintf("%s:%d: VirtualService default/bad: spec.http[0].match[0].headers[x-a].regex: ", path, line); code != 1 ||
		!strings.HasPrefix(out, want) || strings.Count(out, "\n") != 1 {
		t.Errorf("exit %d, want 1 and a line that starts with\n%s\ngot\n%s", code, want, out)
	}
	type problem struct {
		File, Kind, Namespace, Name, Field, Reason, Severity, Message string
		Line                                                          int
	}
	code, out = w.sluice("validate", "-o", "json", w.dir)
	var got []problem
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 1 || len(got) != 1 {
		t.Fatalf("exit %d, %v: %s", code, err, out)
	}
	want := problem{
		File: path, Line: line, Kind: "VirtualService", Namespace: "default", Name: "bad", Message: got[0].Message,
		Field: "spec.http[0].match[0].headers[x-a].regex", Reason: "InvalidRegex", Severity: "error",
	}
	if got[0] != want || got[0].Message == "" {
		t.Errorf("got %+v, want %+v", got[0], want)
	}
	for _, c := range []struct {
		args  []string
		code  int
		words []string
	}{
		{[]string{"validate"}, 2, []string{"folder"}},
		{[]string{"validate", filepath.Join(w.dir, "nowhere")}, 1, []string{"nowhere", "no such file"}},
		{[]string{"validate", "-o", "xml", w.dir}, 2, []string{"xml", "text or json"}},
	} {
		if code, out := w.sluice(c.args...); code != c.code || !containsAll(out, c.words) {
			t.Errorf("sluice %v: exit %d, want %d and %q: %s", c.args, code, c.code, c.words, out)
		}
	}
}

// versions reads resources as /config and translate write them: "type name" to
// version and content.
func versions(t *testing.T, text string) map[string]string {
	t.Helper()
	var byType map[string][]struct {
		Version, Name string
		Resource      any
	}
	if err := yaml.Unmarshal([]byte(text), &byType); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	out := map[string]string{}
	for kind, all := range byType {
		for _, r := range all {
			out[kind+" "+r.Name] = fmt.Sprint(r.Version, r.Resource)
		}
	}
	return out
}

func TestTranslateIsWhatIsSent(t *testing.T) {
	t.Parallel()
	for _, above := range []string{"0", "256"} {
		w := newWorld(t, shopFiles(t)).run("--scoped-above", above)
		w.write("added.yaml", routes("added", "added.test", to("shop.internal")))
		w.wait()
		_, body, err := fetch("http://"+w.admin+"/config", "")
		if err != nil {
			t.Fatal(err)
		}
		sent := versions(t, body)
		for _, format := range []string{"json", "yaml"} {
			code, out := w.sluice("translate", "--scoped-above", above, "-o", format, w.dir)
			if said := versions(t, out); code != 0 || !maps.Equal(said, sent) {
				t.Errorf("--scoped-above %s: exit %d, translate -o %s says\n%v\nsent is\n%v", above, code, format, said, sent)
			}
		}
		code, out := w.sluice("translate", "--scoped-above", above, "--type", "cluster", w.dir)
		names := slices.Sorted(maps.Keys(versions(t, out)))
		want := []string{"cluster outbound|80|v1|shop.internal", "cluster outbound|80|v2|shop.internal", "cluster outbound|80||neighbour.internal", "cluster outbound|80||shop.internal"}
		if code != 0 || !slices.Equal(names, want) {
			t.Errorf("exit %d, the clusters are %q, want %q", code, names, want)
		}
		w.stop(15)
	}
}

// Usage: what is printed, and the exit code.
func TestUsage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, c := range []struct {
		args  string
		code  int
		words []string
	}{
		{"version", 0, []string{"sluice ", "go1.", "linux/"}},
		{"", 0, []string{"run", "validate", "translate", "wait", "status", "examples/quickstart"}},
		{"--help", 0, []string{"COMMANDS"}},
		{"run --help", 0, []string{"--envoy", "--admin", "--data-dir", "--drain-time", "--concurrency", "--log-format", "Examples:"}},
		{"validat", 2, []string{"unknown command", `did you mean "validate"`, "--help"}},
		{"run --evnoy x .", 2, []string{"evnoy", `did you mean "--envoy"`, "sluice run --help"}},
		{"wait --timeout soon", 2, []string{"timeout", "soon"}},
		{"run", 2, []string{"name at least one folder"}},
		{"run --log-level loud .", 2, []string{"loud", "debug, info, warn, error"}},
		{"run --log-format xml .", 2, []string{"xml", "text, json"}},
		{"run --concurrency -1 .", 2, []string{"negative"}},
		{"translate --type banana .", 2, []string{"banana", "cluster"}},
		{"completion bash", 0, []string{"complete ", "sluice"}},
		{"completion zsh", 0, []string{"#compdef sluice"}},
		{"completion fish", 0, []string{"complete -c sluice"}},
		{"completion", 2, []string{"bash, zsh or fish"}},
		{"run --generate-bash-completion", 0, nil},
		{"--generate-bash-completion", 0, []string{"validate", "translate"}},
		{"man", 0, []string{".SH NAME", "scoped-above"}},
	} {
		code, out := w.sluice(strings.Fields(c.args)...)
		if code != c.code || !containsAll(out, c.words) {
			t.Errorf("sluice %s: exit %d, want %d and the words %q:\n%s", c.args, code, c.code, c.words, out)
		}
	}
	file := filepath.Join(w.dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, file + "-that-is-not"} {
		if code, out := w.sluice("run", path); code != 1 || !strings.Contains(out, path) {
			t.Errorf("sluice run %s: exit %d: %s", path, code, out)
		}
	}
	if bash, err := exec.LookPath("bash"); err == nil {
		_, script := w.sluice("completion", "bash")
		if out, err := exec.Command(bash, "-n", "-c", script).CombinedOutput(); err != nil {
			t.Errorf("bash does not like its completion: %v: %s", err, out)
		}
	}
}

func TestSecondOnOneAdminPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shopFiles(t)).run()
	defer w.neighbour().unharmed()
	cmd := exec.Command(binary(), w.args("--data-dir", t.TempDir())...)
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 1 || !containsAll(string(out), []string{w.admin, "in use", "--admin"}) {
		t.Errorf("a second sluice on %s: %v: %s", w.admin, err, out)
	}
	// Nor do two share a data directory; the first keeps its Envoy.
	other := freePort(t)
	cmd = exec.Command(binary(), w.args("--admin", "127.0.0.1:"+itoa(other))...)
	out, err = cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 1 || !containsAll(string(out), []string{w.data, "another sluice", "--data-dir"}) {
		t.Errorf("a second sluice in %s: %v: %s", w.data, err, out)
	}
	w.write("added.yaml", routes("added", "added.test", to("shop.internal")))
	w.wait()
	w.answersNow("added.test", "/", http.StatusOK, "added.test /")
}
