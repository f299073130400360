package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// What stays wrong is logged once, however many edits of other things follow,
// and once more when it is mended.
func TestStandingProblemsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	w := newWorld(t, shopFiles(t))
	w.write("broken.yaml", "kind: VirtualService\nspec: [}\n")
	w.write("lost.yaml", routes("lost", "lost.test", to("lost.internal")))
	w.elsewhere(taken.Addr().(*net.TCPAddr).Port).write("taken.yaml", gateway("taken", "taken.test"))
	w.run()
	w.problem("BindFailed", "taken.yaml")
	for i := range 5 {
		host := fmt.Sprintf("edit%d.test", i)
		w.write("edit.yaml", routes("edit", host, to("shop.internal")))
		w.answers(host, "/", http.StatusOK, host)
	}
	logged := func(line, word string) (n int) {
		for l := range strings.Lines(w.log.String()) {
			if strings.Contains(l, line) && strings.Contains(l, word) {
				n++
			}
		}
		return n
	}
	for _, word := range []string{"broken.yaml", "VirtualService default/lost", "Gateway default/taken"} {
		if n := logged(" problem ", word); n != 1 {
			t.Errorf("the problem of %s is logged %d times", word, n)
		}
	}
	taken.Close()
	w.remove("broken.yaml")
	w.remove("lost.yaml")
	w.flawless()
	w.eventually("the end of problems is logged", func() error {
		for _, word := range []string{"broken.yaml", "VirtualService default/lost", "Gateway default/taken"} {
			if n := logged("problem is gone", word); n != 1 {
				return fmt.Errorf("%d times for %s", n, word)
			}
		}
		return nil
	})
}
