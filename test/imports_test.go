package house

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// room is a folder with everything below it, unless a longer room matches.
type room struct {
	path string
	// may lists the rooms it may import; a room below it may always be imported,
	// and itself.
	may []string
	// reason is told to whoever breaks the law.
	reason string
	// tests may import more: a test wires what the code may not.
	testsMay []string
}

// rooms is the plan of the house: data flows one way, from what people declare
// to what each Envoy gets, without cycles.
func rooms() []room {
	const (
		pure     = "a translator sees the model and nothing else, so that the same input always gives the same bytes"
		declared = "objects become model values here; what happens to them later is not this room's business"
		port     = "it reads the others through interfaces of its own, so that it can be tested without them"
	)
	toModel := []string{"model", "test/envoytest"}
	everything := []string{
		"model", "config", "discovery", "compile", "gateway", "routing", "upstream", "egress", "mesh", "policy",
		"tls", "xds", "proxy", "status", "rollout", "telemetry", "console", "test",
	}
	translators := []string{"gateway", "routing", "upstream", "egress", "mesh", "policy", "tls"}
	return []room{
		{"model", nil, "the words that everyone speaks depend on nobody", nil},
		{"config", []string{"model"}, declared, []string{"test/envoytest"}},
		{"discovery", []string{"model", "config"}, declared, []string{"test"}},
		{"compile", append([]string{"model", "config"}, translators...), "the engine knows inputs and translators, not who sends or receives", everything},
		{"gateway", toModel, pure, append([]string{"xds", "routing", "upstream", "test"}, toModel...)},
		{"routing", toModel, pure, append([]string{"xds", "test"}, toModel...)},
		{"upstream", toModel, pure, append([]string{"xds", "test"}, toModel...)},
		{"egress", toModel, pure, append([]string{"xds", "test"}, toModel...)},
		{"mesh", toModel, pure, append([]string{"xds", "test"}, toModel...)},
		{"policy", toModel, pure, append([]string{"xds", "test"}, toModel...)},
		{"tls", toModel, pure, append([]string{"xds", "test"}, toModel...)},
		{"xds", []string{"model"}, "it moves bytes with names; that they come from Istio or anywhere else is not known here", []string{"model", "proxy", "test"}},
		{"proxy", []string{"model"}, "it runs Envoys; what they are told is not known here", []string{"model", "test"}},
		{"status", []string{"model"}, port, []string{"test"}},
		{"rollout", []string{"model"}, port, []string{"test"}},
		{"telemetry", []string{"model"}, port, []string{"test"}},
		{"console", []string{"model"}, port, []string{"test"}},
		{"cmd", everything, "only cmd wires, and nobody imports it", nil},
		{"examples", nil, "an example stands for a stranger's program", everything},
		{"loadtest", nil, "it measures from outside, as a user sees Sluice", []string{"test/envoytest"}},
		{"test", everything, "tests may import everything but cmd", nil},
	}
}

// roomOf returns the room of a folder.
func roomOf(dir string) (room, bool) {
	var best room
	found := false
	for _, r := range rooms() {
		if under(dir, r.path) && (!found || len(r.path) > len(best.path)) {
			best, found = r, true
		}
	}
	return best, found
}

func TestHouseImportsBetweenRooms(t *testing.T) {
	for _, s := range sources(t) {
		r, ok := roomOf(s.dir)
		if !ok {
			t.Errorf("%s: folder %q is no room of the house; add it to the plan and to the docs, or move the file", s.path, s.dir)
			continue
		}
		for _, i := range s.syntax.Imports {
			to, ours := strings.CutPrefix(unquote(i.Path.Value), module+"/")
			if !ours || under(to, r.path) {
				continue
			}
			may := r.may
			if s.test {
				may = append(slices.Clone(may), r.testsMay...)
			}
			if !slices.ContainsFunc(may, func(m string) bool { return under(to, m) }) {
				t.Errorf("%s: %s may not import %s: %s", s.at(i), r.path, to, r.reason)
			}
		}
	}
}

// fence keeps foreign packages inside some folders.
type fence struct {
	prefixes []string // of import paths
	inside   []string // folders that may import them
	tests    bool     // tests everywhere may too
	reason   string
}

func fences() []fence {
	return []fence{
		{
			[]string{"k8s.io/", "sigs.k8s.io/controller-runtime", "sigs.k8s.io/gateway-api"},
			[]string{
				"config/kube", "config/gatewayapi", "config/ingress", "discovery/kube",
				"proxy/fleet", "mesh/inject", "status/kube", "rollout/kube",
			},
			false,
			"Sluice runs without Kubernetes; only these rooms know it",
		},
		{
			[]string{"istio.io/"},
			[]string{"config/istio"},
			false,
			"what leaves config/istio is the model; nobody else knows whose YAML it was",
		},
		{
			[]string{"github.com/envoyproxy/go-control-plane/envoy/service/"},
			[]string{"xds"},
			true,
			"one room speaks xDS; all others give it resources",
		},
		{
			[]string{"github.com/fsnotify/fsnotify"},
			[]string{"config/file", "tls/pemfile"},
			true,
			"objects are watched in one place, the files that they name in another",
		},
		{
			[]string{"github.com/urfave/cli/"},
			[]string{"cmd", "loadtest/cmd"},
			false,
			"flags are read in commands; everything else gets its parameters",
		},
		{
			[]string{"log"},
			nil,
			false,
			"logs are written with log/slog",
		},
	}
}

// holds reports whether an import path is behind the fence.
func (f fence) holds(importPath string) bool {
	return slices.ContainsFunc(f.prefixes, func(p string) bool {
		return importPath == p || strings.HasPrefix(importPath, p) && (strings.HasSuffix(p, "/") || importPath[len(p)] == '/' && strings.Contains(p, "/"))
	})
}

func TestHouseImportsOfOthers(t *testing.T) {
	for _, s := range sources(t) {
		for _, i := range s.syntax.Imports {
			for _, f := range fences() {
				inside := slices.ContainsFunc(f.inside, func(d string) bool { return under(s.dir, d) })
				if f.holds(unquote(i.Path.Value)) && !inside && (!f.tests || !s.test) {
					t.Errorf("%s: import of %s: %s", s.at(i), i.Path.Value, f.reason)
				}
			}
		}
	}
}

// Pure rooms translate. They have no clock, socket, file or log.
func TestHousePureRooms(t *testing.T) {
	pure := []string{"model", "compile", "gateway", "routing", "upstream", "config/istio", "config/settings"}
	forbidden := []string{"os", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "syscall"}
	for _, s := range sources(t) {
		if s.test || !slices.ContainsFunc(pure, func(d string) bool { return under(s.dir, d) }) {
			continue
		}
		for _, i := range s.syntax.Imports {
			if slices.Contains(forbidden, unquote(i.Path.Value)) {
				t.Errorf("%s: import of %s in a pure room; let cmd pass in what is needed", s.at(i), i.Path.Value)
			}
		}
		for _, call := range callsOf(s, "time", "Now", "Since", "Until", "After", "NewTimer", "NewTicker", "Tick") {
			t.Errorf("%s: a pure room reads no clock; take the instant as a parameter", s.at(call))
		}
	}
}

// unquote returns the path of an import.
func unquote(literal string) string {
	p, err := strconv.Unquote(literal)
	if err != nil {
		return literal
	}
	return p
}
