package loadtest

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

func TestHistogram(t *testing.T) {
	h := newHistogram()
	for i := 1; i <= 1000; i++ {
		h.add(time.Duration(i) * time.Millisecond)
	}
	h.add(-time.Second) // counts as 1 µs
	h.add(time.Hour)    // counts as 60 s
	m := h.measures("x_")
	for name, want := range map[string]float64{"x_count": 1002, "x_p50_ms": 500, "x_p90_ms": 900, "x_p99_ms": 990, "x_max_ms": 60_000} {
		if got := m[name]; math.Abs(got-want) > want*0.005+1 {
			t.Errorf("%s is %v, want about %v", name, got, want)
		}
	}
	o := newHistogram()
	o.merge(h)
	if o.h.TotalCount() != 1002 {
		t.Errorf("merged count is %d", o.h.TotalCount())
	}
}

func TestSamples(t *testing.T) {
	const text = `# HELP a what it is
# TYPE a counter
a{type="route"} 3
a{type="odd } \" one"} 4 1700000000
ab 1e+06

nan NaN
`
	s, err := parseSamples(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(s) != 4 {
		t.Errorf("%d samples, want 4", len(s))
	}
	for name, want := range map[string]float64{"a": 7, "ab": 1e6} {
		if got, ok := s.sum(name); !ok || got != want {
			t.Errorf("sum of %s is %v, want %v", name, got, want)
		}
	}
	if _, ok := s.sum("absent"); ok {
		t.Error("found a metric that is not there")
	}
	for _, bad := range []string{"a", "a{", `a{x="}`, "a{} ", "a x"} {
		if got, err := parseSamples(strings.NewReader(bad + "\n")); err == nil {
			t.Errorf("%q parsed as %v", bad, got)
		}
	}
}

func TestProcess(t *testing.T) {
	s, err := parseStat([]byte("42 (a (b) c) S 7 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 100 0 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	if want := (processStat{"a (b) c", 7, 2 * time.Second}); s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
	for _, bad := range []string{"", "1 (x S", "1 (x) S 1", "1 (x) S y 1 1 0 0 0 0 0 0 0 0 0 0"} {
		if s, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q parsed as %+v", bad, s)
		}
	}
	mb, err := parseMemory([]byte("Name:\tx\nVmHWM:\t    4096 kB\nVmRSS:\t    2048 kB\n"), "VmRSS")
	if err != nil || mb != 2 {
		t.Errorf("got %v MB, %v", mb, err)
	}
	if _, err := parseMemory([]byte("Name:\tx\n"), "VmRSS"); err == nil {
		t.Error("memory without the field")
	}
	if own, err := statOf(os.Getpid()); err != nil || own.parent != os.Getppid() {
		t.Errorf("own parent is %+v, %v", own, err)
	}
	if rss, peak, err := memoryOf(os.Getpid()); err != nil || rss <= 0 || peak < rss/2 {
		t.Errorf("own memory is %v, %v, %v", rss, peak, err)
	}
	if pid, err := envoyOf(os.Getpid()); err == nil {
		t.Errorf("found an Envoy where there is none: %d", pid)
	}
}

func TestWorld(t *testing.T) {
	w := newWorld(8080, 5, []backendRef{{"s000", 1}, {"s001", 2}})
	w.moveHost(4)
	if i := w.addHost(); i != 5 {
		t.Errorf("new host is %d", i)
	}
	files := w.files()
	if len(files) != 1+2+6 {
		t.Fatalf("%d files", len(files))
	}
	paths := map[string]bool{}
	for _, f := range files {
		paths[f.path] = true
		var doc struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     struct{ HTTP []any }
		}
		if err := yaml.Unmarshal([]byte(f.text), &doc); err != nil {
			t.Fatalf("%s: %v", f.path, err)
		}
		if doc.Metadata.Name == "" || doc.Kind == "VirtualService" && len(doc.Spec.HTTP) != 3 {
			t.Errorf("%s is %+v", f.path, doc)
		}
	}
	if len(paths) != len(files) {
		t.Error("two files of one path")
	}
	if got := w.hostFile(4).text; !strings.Contains(got, "- route: [{destination: {host: s001.load.internal") {
		t.Errorf("the moved host goes elsewhere:\n%s", got)
	}
}

func TestRenameLeavesNoHalfFile(t *testing.T) {
	d, err := newDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := file{"hosts/a.yaml", "one"}
	if err := d.write([]file{f}); err != nil {
		t.Fatal(err)
	}
	f.text = "two"
	if _, err := d.replace(f); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(d.watched, f.path))
	if err != nil || string(got) != "two" {
		t.Errorf("got %q, %v", got, err)
	}
	if left, _ := os.ReadDir(d.stage); len(left) != 0 {
		t.Errorf("staged files are left: %v", left)
	}
	if err := d.remove(f); err != nil {
		t.Error(err)
	}
	if err := d.remove(f); err == nil {
		t.Error("removed what is gone")
	}
}

func TestBudgetsFile(t *testing.T) {
	text, err := os.ReadFile("budgets.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseBudgets(text)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, r := range b.Runs {
		used[r.Scenario] = true
	}
	for _, s := range Scenarios() {
		if !used[s.Name] {
			t.Errorf("no budget for scenario %s", s.Name)
		}
	}
}

func TestBudgetsAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		"": "no runs",
		"runs: [{name: a, scenario: edit, colour: red}]":                                                 "colour",
		"runs: [{name: a, scenario: dance}]":                                                             `no scenario "dance"`,
		"runs: [{name: a, scenario: edit, flags: {hosts: -1}}]":                                          "hosts is -1",
		"runs: [{name: a, scenario: edit}, {name: a, scenario: add}]":                                    "empty or taken",
		"runs: [{name: a, scenario: edit, limits: [{measure: p50_ms}]}]":                                 "give max or min",
		"runs: [{name: a, scenario: edit, limits: [{measure: p50_ms, max: 1, min: 2}]}]":                 "give max or min",
		"runs: [{name: a, scenario: edit, limits: [{max: 1}]}]":                                          "names no measure",
		"runs: [{name: a, scenario: edit, limits: [{measure: p50_ms, max: 1, times: a}]}]":               `no earlier run "a"`,
		"runs: [{name: a, scenario: edit}, {name: b, scenario: add, limits: [{measure: x, max: lots}]}]": "lots",
	} {
		if _, err := ParseBudgets([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nerror is %v, want %q", text, err, want)
		}
	}
}

func TestJudge(t *testing.T) {
	b, err := ParseBudgets([]byte(`runs:
- {name: base, scenario: edit}
- name: big
  scenario: edit
  limits:
  - {measure: p50_ms, max: 10}
  - {measure: p50_ms, max: 1.5, times: base}
  - {measure: rate, min: 0.95}
  - {measure: absent, max: 1}
  - {measure: only_here, max: 1, times: base}
`))
	if err != nil {
		t.Fatal(err)
	}
	results := map[string]Result{
		"base": {Measures: measures{"p50_ms": 4}},
		"big":  {Measures: measures{"p50_ms": 6.5, "rate": 0.95, "only_here": 1}},
	}
	got := b.Runs[1].Judge(results)
	want := []Verdict{
		{"big", "p50_ms", 6.5, "≤ 10", true, false},
		{"big", "p50_ms", 6.5, "≤ 6", false, false},
		{"big", "rate", 0.95, "≥ 0.95", true, false},
		{"big", "absent", 0, "≤ 1", false, true},
		{"big", "only_here", 1, "≤ 0", false, true},
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v\nwant %+v", got[i], want[i])
		}
	}
	var out bytes.Buffer
	if WriteVerdicts(&out, got) {
		t.Error("over budget, but the table says all is well")
	}
	if strings.Count(out.String(), "OVER") != 3 {
		t.Errorf("table:\n%s", out.String())
	}
	if !WriteVerdicts(&out, got[:1]) {
		t.Error("within budget, but the table says it is not")
	}
}

func TestBenchGoesOnAfterAFailedRun(t *testing.T) {
	b, err := ParseBudgets([]byte(`runs:
- {name: one, scenario: edit, limits: [{measure: p50_ms, max: 10}]}
- {name: two, scenario: add, limits: [{measure: p50_ms, max: 10}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	verdicts, err := Bench(t.Context(), Place{Sluice: "/bin/false", Log: &log}, b, t.TempDir())
	if err != nil || len(verdicts) != 4 {
		t.Fatalf("%d verdicts, %v", len(verdicts), err)
	}
	for _, v := range verdicts {
		if v.OK {
			t.Errorf("a failed run is well: %+v", v)
		}
	}
	if only, err := b.Only([]string{"two"}); err != nil || len(only.Runs) != 1 || only.Runs[0].Name != "two" {
		t.Errorf("only two is %+v, %v", only, err)
	}
	if _, err := b.Only([]string{"three"}); err == nil {
		t.Error("found a run that is not there")
	}
}

func TestCompare(t *testing.T) {
	start := func(cpu time.Duration, each time.Duration, rates ...float64) tally {
		y := tally{rates: rates, cpu: cpu, latency: newHistogram()}
		for range 10 {
			y.latency.add(each)
		}
		return y
	}
	m := compare(
		[]tally{start(20*time.Millisecond, 2*time.Millisecond, 90, 300, 100), start(20*time.Millisecond, 2*time.Millisecond, 80)},
		[]tally{start(10*time.Millisecond, time.Millisecond, 120), start(10*time.Millisecond, time.Millisecond, 120)},
		[]tally{start(10*time.Millisecond, time.Millisecond, 180)})
	for name, want := range map[string]float64{
		"throughput_ratio": 0.75, "bare_throughput_ratio": 0.5, "p99_ratio": 0.5, "cpu_ratio": 0.5,
		"sluice_cpu_us_per_request": 2000, "sluice_rps": 90, "bare_rps": 180,
	} {
		if got := m[name]; math.Abs(got-want) > 0.01*want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if _, ok := compare([]tally{start(1, 1, 1)}, []tally{start(1, 1, 1)}, nil)["bare_rps"]; ok {
		t.Error("a side that did not play has figures")
	}
}

func TestStaticConfigHasTheWorld(t *testing.T) {
	w := newWorld(1, 3, []backendRef{{"s000", 11}, {"s001", 12}})
	w.moveHost(0)
	text, err := staticConfig(staticWorld(w, 8099, false))
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	for want, n := range map[string]int{"port_value: 8099": 1, "port_value: 11": 1, "domains:": 3, "- match:": 9, "x-canary": 3} {
		if got := strings.Count(text, want); got != n {
			t.Errorf("%q %d times, want %d", want, got, n)
		}
	}
	if !strings.Contains(text, "match: {prefix: /}\n                route: {cluster: s001, timeout: 0s}") {
		t.Errorf("the moved host goes elsewhere:\n%s", text)
	}
	if strings.Contains(text, "overload_manager") || strings.Contains(text, "use_remote_address") {
		t.Errorf("a bare configuration has what an edge has:\n%s", text)
	}
	edge, err := staticConfig(staticWorld(w, 8099, true))
	if err != nil {
		t.Fatal(err)
	}
	for want, n := range map[string]int{"overload_manager": 1, "use_remote_address": 1, "per_connection_buffer_limit_bytes": 3, "- match:": 9} {
		if got := strings.Count(edge, want); got != n {
			t.Errorf("at an edge %q %d times, want %d", want, got, n)
		}
	}
}
