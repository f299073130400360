package house

import (
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// The patterns are put together so that this file does not match itself.
func unwanted() map[string]*regexp.Regexp {
	return map[string]*regexp.Regexp{
		"an open end; finish it or file an issue": regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX)\b`),
		"a path of somebody's machine":            regexp.MustCompile(`(^|[\s"'=(:` + "`" + `])/(home|ro` + `ot|Use` + `rs|wo` + `rk)/`),
		"an unresolved merge":                     regexp.MustCompile(`(?m)^(<<<<<<<|>>>>>>>) `),
	}
}

func TestHouseTexts(t *testing.T) {
	patterns := unwanted()
	for _, p := range files(t) {
		if p == "LICENSE" || p == "go.sum" {
			continue
		}
		text := readFile(t, p)
		if !utf8.ValidString(text) {
			continue // not a text
		}
		n := 0
		for line := range strings.Lines(text) {
			n++
			for what, pattern := range patterns {
				if pattern.MatchString(line) {
					t.Errorf("%s:%d: %s: %s", p, n, what, strings.TrimSpace(line))
				}
			}
		}
	}
}

// Every module that go.mod requires directly is argued for in a decision.
func TestHouseDependenciesAreDecided(t *testing.T) {
	var decisions strings.Builder
	for _, p := range files(t) {
		if path.Dir(p) == "docs/decisions" {
			decisions.WriteString(readFile(t, p))
		}
	}
	direct := directModules(readFile(t, "go.mod"))
	if len(direct) == 0 {
		t.Fatal("no requirement found in go.mod")
	}
	for _, m := range direct {
		if !strings.Contains(decisions.String(), "`"+m+"`") {
			t.Errorf("go.mod requires %s, but no page of docs/decisions says why", m)
		}
	}
}

// directModules returns the modules of go.mod's require lines that are not
// marked as indirect.
func directModules(gomod string) []string {
	var out []string
	inside := false
	for line := range strings.Lines(gomod) {
		line = strings.TrimSpace(line)
		switch line {
		case "require (":
			inside = true
			continue
		case ")":
			inside = false
		}
		rest, single := strings.CutPrefix(line, "require ")
		if fields := strings.Fields(rest); (inside || single) && len(fields) == 2 {
			out = append(out, fields[0])
		}
	}
	return out
}

// Decisions are numbered without gaps, so that a reference finds its page.
func TestHouseDecisionsAreNumbered(t *testing.T) {
	next := 1
	for _, p := range files(t) {
		if path.Dir(p) != "docs/decisions" {
			continue
		}
		number, _, _ := strings.Cut(path.Base(p), "-")
		if n, err := strconv.Atoi(number); err != nil || len(number) != 4 || n != next {
			t.Errorf("%s: the next decision is number %04d", p, next)
		}
		next++
	}
}

// What the laws rely on can be false.
func TestHouseLawsBite(t *testing.T) {
	for line, want := range map[string]bool{
		"// TO" + "DO: later":          true,
		"mastodon":                     false,
		`path = "/ro` + `ot/x"`:        true,
		"see /wo" + "rk/y":             true,
		"an URL http://host.test/home": false,
		"<<<<<<< HEAD":                 true,
	} {
		found := false
		for _, p := range unwanted() {
			found = found || p.MatchString(line)
		}
		if found != want {
			t.Errorf("%q unwanted: %v, want %v", line, found, want)
		}
	}
	if got := directModules("require a.test/x v1\nrequire (\n\tb.test/y v2\n\tc.test/z v3 // indirect\n)\n"); strings.Join(got, " ") != "a.test/x b.test/y" {
		t.Errorf("direct modules are %q", got)
	}
	if r, ok := roomOf("config/istio"); !ok || r.path != "config" {
		t.Errorf("config/istio is in room %q", r.path)
	}
	if _, ok := roomOf("modelling"); ok {
		t.Error("a folder is in a room because its name starts alike")
	}
	for importPath, want := range map[string]int{"k8s.io/api/core/v1": 1, "log": 1, "log/slog": 0, "istio.io/api/x": 1, "logger": 0} {
		n := 0
		for _, f := range fences() {
			if f.holds(importPath) {
				n++
			}
		}
		if n != want {
			t.Errorf("%s is behind %d fences, want %d", importPath, n, want)
		}
	}
	if n := sentences("What goes in: e.g. a. And out."); n < 2 {
		t.Errorf("%d sentences", n)
	}
}
