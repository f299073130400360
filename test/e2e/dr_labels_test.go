package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// shelves are servers told apart by two labels.
func shelves() []string {
	return []string{
		"labels: {tier: edge, shelf: a}", "labels: {tier: edge, shelf: b}", "labels: {tier: back, shelf: a}", "labels: {tier: back, shelf: b}",
	}
}

// byShelf prefers endpoints that share labels with the gateway.
func byShelf(name string, servers []*origin, more string) string {
	return placed(name, servers, shelves(), "{loadBalancer: {simple: ROUND_ROBIN, localityLbSetting: {failoverPriority: [tier, shelf]}}"+more+"}")
}

// Endpoints with the gateway's own labels go first, others stand in label by
// label, and each gives way when a better one is back.
func TestFailoverByOwnLabels(t *testing.T) {
	t.Parallel()
	servers, stuck := origins(t, "s", len(shelves())), origins(t, "stuck", len(shelves()))
	w := newWorld(t, map[string]string{
		"gateway.yaml": edge("*"),
		"s.yaml":       byShelf("s", servers, ", "+ejecting),
		// Nothing finds these at fault, so none is kept in reserve.
		"stuck.yaml": byShelf("stuck", stuck, ""),
	}).run("--labels", "tier=edge,shelf=a").settled()
	w.flawless()
	w.answered(query{host: "stuck.test"}, stuck)
	q := query{host: "s.test"}
	w.answered(q, servers[:1])
	for i := range 2 {
		servers[i].setSick(true)
		next := servers[1:2]
		if i == 1 {
			next = servers[2:]
		}
		w.willBeAnswered(q, next)
	}
	for _, i := range []int{1, 0} {
		servers[i].setSick(false)
		w.willBeAnswered(q, servers[i:i+1])
	}
}

// Labels come from a flag that may be repeated, or from the environment. Those
// that no endpoint has prefer nobody, as do none at all.
func TestOwnLabels(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		flags []string
		env   string
		first int // so many servers are preferred
		code  int // of the rule for sourceLabels {tier: edge}
	}{
		"none":        {first: 4, code: http.StatusOK},
		"repeated":    {flags: []string{"--labels", "shelf=a", "--labels", "tier=edge"}, first: 1, code: http.StatusTeapot},
		"one":         {flags: []string{"--labels", "tier=edge"}, first: 2, code: http.StatusTeapot},
		"second":      {flags: []string{"--labels", "shelf=a"}, first: 4, code: http.StatusOK},
		"strange":     {flags: []string{"--labels", "tier=core,shelf=a,empty="}, first: 4, code: http.StatusOK},
		"environment": {env: "tier=edge,shelf=a", first: 1, code: http.StatusTeapot},
		"flag wins":   {env: "tier=back", flags: []string{"--labels", "tier=edge"}, first: 2, code: http.StatusTeapot},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers := origins(t, "s", len(shelves()))
			w := newWorld(t, map[string]string{
				// Whatever the labels, the gateway of one machine takes every Gateway.
				"gateway.yaml": strings.Replace(edge("*"), "spec:\n", "spec:\n  selector: {app: other}\n", 1),
				"s.yaml":       byShelf("s", servers, ", "+ejecting),
				"source.yaml": routes("source", "source.test", "  - {match: [{uri: {prefix: /own}, sourceLabels: {tier: edge}}], directResponse: {status: 418}}\n"+
					"  - directResponse: {status: 200}\n"),
			})
			cmd := exec.Command(binary(), w.args(c.flags...)...)
			cmd.Env = append(os.Environ(), "SLUICE_LABELS="+c.env)
			w.spawn(cmd)
			w.ready()
			w.settled().flawless()
			w.answered(query{host: "s.test"}, servers[:c.first])
			w.expect([]outcome{{query: query{host: "source.test", path: "/own"}, code: c.code}})
		})
	}
}

// A label that is none ends every command that takes labels, and says which; to
// translate shows what labels change.
func TestLabelsFlag(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"gateway.yaml": edge("*"), "s.yaml": byShelf("s", origins(t, "s", len(shelves())), ", "+ejecting)})
	for _, command := range []string{"run", "validate", "translate"} {
		for value, words := range map[string][]string{
			"tier":                {`--labels "tier"`, "key=value"},
			"=edge":               {`--labels "=edge"`, "key=value"},
			"tier=edge,shelf":     {`--labels "shelf"`, "key=value"},
			"tier=edge,tier=back": {`--labels "tier=back"`, "edge"},
		} {
			if code, out := w.sluice(command, "--labels", value, w.dir); code != 2 || !containsAll(out, words) {
				t.Errorf("sluice %s --labels %s: exit %d, want 2 and %q: %s", command, value, code, words, out)
			}
		}
	}
	for value, priorities := range map[string]int{"tier=edge": 2, "tier=edge,shelf=a": 3, "tier=core": 1} {
		code, out := w.sluice("translate", "--type", "endpoint", "--labels", value, w.dir)
		if got := 1 + strings.Count(out, "priority: "); code != 0 || got < priorities || priorities == 1 && got > 1 {
			t.Errorf("sluice translate --labels %s: exit %d, %d priorities, want %d:\n%s", value, code, got, priorities, out)
		}
		if code, out := w.sluice("validate", "--labels", value, w.dir); code != 0 || out != "" {
			t.Errorf("sluice validate --labels %s: exit %d: %s", value, code, out)
		}
	}
}
