package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

// Each edit moves a host to a service that is new and takes the old one away in
// the same breath. Nobody asked the host in vain.
func TestMakeBeforeBreak(t *testing.T) {
	t.Parallel()
	for _, above := range []string{"0", "256"} {
		t.Run("above "+above, func(t *testing.T) {
			t.Parallel()
			moves(t, above)
		})
	}
}

func moves(t *testing.T, above string) {
	const edits = 60
	ports := [2]int{backend(t, "one"), backend(t, "two")}
	name := func(i int) string { return fmt.Sprintf("s%d.internal", i) }
	file := func(i int) string { return fmt.Sprintf("services/s%d.yaml", i) }
	// The destination says which service sent the request there.
	route := func(i int) string {
		return routes("moving", "moving.test", "  - rewrite: {authority: "+name(i)+"}\n    route: [{destination: {host: "+name(i)+"}}]\n")
	}
	files := withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"), "moving.yaml": route(0), file(0): service(name(0), ports[0]),
	})
	w := newWorld(t, files).run("--scoped-above", above)
	w.answers("moving.test", "/", http.StatusOK, name(0))
	load := w.openLoop("moving.test", 200)
	neighbour := w.neighbour()
	for i := 1; i <= edits; i++ {
		w.write(file(i), service(name(i), ports[i%2]))
		w.write("moving.yaml", route(i))
		w.remove(file(i - 1))
		w.answers("moving.test", "/", http.StatusOK, name(i))
	}
	load.unharmed()
	neighbour.unharmed()
	w.wait()
	w.flawless()
}

// The same, as fast as files can be written: what arrives while a change is on
// its way is taken together, in the same order.
func TestMakeBeforeBreakInAStorm(t *testing.T) {
	t.Parallel()
	const edits = 300
	port := backend(t, "a")
	name := func(i int) string { return fmt.Sprintf("s%d.internal", i) }
	w := newWorld(t, withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"), "s0.yaml": service(name(0), port), "moving.yaml": routes("moving", "moving.test", to(name(0))),
	})).run()
	w.answers("moving.test", "/", http.StatusOK, "a moving.test")
	load := w.openLoop("moving.test", 200)
	neighbour := w.neighbour()
	for i := 1; i <= edits; i++ {
		w.write(fmt.Sprintf("s%d.yaml", i), service(name(i), port))
		w.write("moving.yaml", routes("moving", "moving.test", to(name(i))))
		w.remove(fmt.Sprintf("s%d.yaml", i-1))
	}
	w.wait()
	load.unharmed()
	neighbour.unharmed()
	w.flawless()
}
