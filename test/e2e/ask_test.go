package e2e

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

func itoa(n int) string { return strconv.Itoa(n) }

func unexpected(code int, body string) error { return fmt.Errorf("it answers %d %q", code, body) }

// answersNow expects an answer at the first try.
func (w *world) answersNow(host, path string, code int, body string) {
	w.t.Helper()
	c, b, err := w.get(host, path)
	if err != nil || c != code || !strings.Contains(b, body) {
		w.t.Errorf("%s%s answers %d %q %v, want %d %q", host, path, c, b, err, code, body)
	}
}

// ask sends a GET with one header.
func (w *world) ask(host, key, value string) (code int, body string, err error) {
	req, err := http.NewRequest(http.MethodGet, w.url("/"), nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set(key, value)
	return send(req, host)
}

// header expects an answer to a request with one header.
func (w *world) header(host, key, value, want string) {
	w.t.Helper()
	if code, body, err := w.ask(host, key, value); err != nil || code != http.StatusOK || !strings.HasPrefix(body, want) {
		w.t.Errorf("%s with %s: %s answers %d %q %v, want %q", host, key, value, code, body, err, want)
	}
}

// elsewhere is the same world, seen through another port.
func (w *world) elsewhere(port int) *world {
	other := *w
	other.port = port
	return &other
}

// gateway is edge under another name.
func gateway(name string, hosts ...string) string {
	return strings.Replace(edge(hosts...), "{name: edge}", "{name: "+name+"}", 1)
}

// lineOf returns the number of the first line with a word, 0 without.
func lineOf(text, word string) int {
	n := 0
	for line := range strings.Lines(text) {
		if n++; strings.Contains(line, word) {
			return n
		}
	}
	return 0
}
