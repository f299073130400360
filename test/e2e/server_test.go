package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// origin is a real HTTP server, of version 1.1 and 2, that answers with its
// name, the host and the path it saw, then a line for every header, and keeps
// count.
type origin struct {
	name string
	port int

	mu    sync.Mutex
	seen  []string        // "METHOD host /path"
	conns map[string]bool // connections by address of the peer; true while open
	sick  bool            // answers 503
	block chan struct{}   // requests for /block wait for it
}

// newOrigin starts an origin that lives as long as the test.
func newOrigin(t testing.TB, name string) *origin {
	t.Helper()
	o := &origin{name: name, conns: map[string]bool{}, block: make(chan struct{})}
	s := httptest.NewUnstartedServer(o)
	both := new(http.Protocols)
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	s.Config.Protocols = both
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.conns[c.RemoteAddr().String()] = state != http.StateClosed && state != http.StateHijacked
	}
	s.Start()
	t.Cleanup(func() {
		o.release()
		s.CloseClientConnections()
		s.Close()
	})
	o.port = s.Listener.Addr().(*net.TCPAddr).Port
	return o
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.seen = append(o.seen, r.Method+" "+r.Host+" "+r.URL.RequestURI())
	turn, sick, block := len(o.seen), o.sick, o.block
	o.mu.Unlock()
	q := r.URL.Query()
	code := http.StatusOK
	switch {
	case r.URL.Path == "/block" || r.URL.Path == "/odd" && turn%2 == 1:
		select {
		case <-block:
		case <-r.Context().Done():
			return
		}
	case sick || q.Has("unavailable"):
		code = http.StatusServiceUnavailable
	case q.Has("conflict"):
		code = http.StatusConflict
	}
	w.Header().Set("x-origin", o.name)
	w.Header().Set("server", o.name)
	w.WriteHeader(code)
	fmt.Fprintf(w, "%s %s %s\nproto: %s\n", o.name, r.Host, r.URL.RequestURI(), r.Proto)
	for _, key := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(w, "%s: %s\n", strings.ToLower(key), strings.Join(r.Header[key], ","))
	}
}

// asked counts the requests whose line has a word.
func (o *origin) asked(word string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, line := range o.seen {
		if strings.Contains(line, word) {
			n++
		}
	}
	return n
}

// connections counts those ever opened and those open now.
func (o *origin) connections() (all, open int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, is := range o.conns {
		if is {
			open++
		}
	}
	return len(o.conns), open
}

func (o *origin) setSick(sick bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sick = sick
}

// release lets every request that is held go.
func (o *origin) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case <-o.block:
	default:
		close(o.block)
	}
}

// origins are several, named after a letter: a0, a1.
func origins(t testing.TB, letter string, n int) (out []*origin) {
	t.Helper()
	for i := range n {
		out = append(out, newOrigin(t, letter+itoa(i)))
	}
	return out
}

// query is a request; an empty method is GET, an empty path "/".
type query struct {
	method, host, path string
	headers            string // "name: value" by line
	from               string // address of the client
	body               string
	h2                 bool
}

// reply is an answer.
type reply struct {
	code    int
	header  http.Header
	trailer http.Header
	body    string
	took    time.Duration
}

// line is the first line of an origin's answer.
func (r reply) line() string {
	line, _, _ := strings.Cut(r.body, "\n")
	return line
}

// name is who answered.
func (r reply) name() string {
	name, _, _ := strings.Cut(r.body, " ")
	return name
}

// do sends a request over a connection of its own.
func (w *world) do(q query) (out reply, err error) {
	if q.method == "" {
		q.method = http.MethodGet
	}
	if q.path == "" {
		q.path = "/"
	}
	var body io.Reader
	if q.body != "" {
		body = strings.NewReader(q.body)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, q.method, w.url(q.path), body)
	if err != nil {
		return out, err
	}
	req.Host, req.GetBody = q.host, nil
	for line := range strings.Lines(q.headers) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		req.Header.Add(key, value)
	}
	transport := &http.Transport{DisableCompression: true}
	if q.h2 {
		transport = h2c()
	}
	if q.from != "" {
		transport.DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(q.from)}}).DialContext
	}
	defer transport.CloseIdleConnections()
	began := time.Now()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, resp.Trailer, string(b), time.Since(began)}, err
}

// must sends a request that is answered, whatever the answer.
func (w *world) must(q query) reply {
	w.t.Helper()
	r, err := w.do(q)
	if err != nil {
		w.t.Fatalf("%+v: %v", q, err)
	}
	return r
}

// outcome is what a request is answered.
type outcome struct {
	name string
	query
	code   int    // 0 means 200
	body   string // a part of the body
	not    string // no part of the body
	header string // "name: value" by line; without a value it must be absent
}

// expect checks outcomes, each at the first try.
func (w *world) expect(outcomes []outcome) {
	w.t.Helper()
	for _, c := range outcomes {
		name := c.name
		if name == "" {
			name = c.host + " " + c.path
		}
		w.t.Run(name, func(t *testing.T) { c.check(w.in(t)) })
	}
}

func (c outcome) check(w *world) {
	r := w.must(c.query)
	if c.code == 0 {
		c.code = http.StatusOK
	}
	if r.code != c.code || !strings.Contains(r.body, c.body) || c.not != "" && strings.Contains(r.body, c.not) {
		w.t.Errorf("it answers %d %q %v, want %d with %q and not %q", r.code, r.body, r.header, c.code, c.body, c.not)
	}
	for line := range strings.Lines(c.header) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		if got := strings.Join(r.header.Values(key), ","); got != value {
			w.t.Errorf("%s is %q, want %q; all are %v", key, got, value, r.header)
		}
	}
}

// settled waits until what was written is live.
func (w *world) settled() *world {
	w.t.Helper()
	w.wait()
	return w
}

// spread sends a request n times and counts who answers.
func (w *world) spread(q query, n int) map[string]int {
	w.t.Helper()
	out := map[string]int{}
	for range n {
		r := w.must(q)
		if r.code != http.StatusOK {
			w.t.Fatalf("%+v: %d %q", q, r.code, r.body)
		}
		out[r.name()]++
	}
	return out
}

// only waits until nobody but the named one answers, several times in a row.
func (w *world) only(q query, name string) {
	w.t.Helper()
	w.eventually("only "+name+" answers", func() error {
		for range 8 {
			if r, err := w.do(q); err != nil || r.code != http.StatusOK || r.name() != name {
				return fmt.Errorf("it answers %d %q %w", r.code, r.line(), err)
			}
		}
		return nil
	})
}

// fleet is a static service of several endpoints; extra is YAML behind each.
func fleet(host string, servers []*origin, extra ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: %s}\nspec:\n  hosts: [%s]\n"+
		"  location: MESH_EXTERNAL\n  resolution: STATIC\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  endpoints:\n",
		strings.ReplaceAll(host, ".", "-"), host)
	for i, s := range servers {
		more := ""
		if i < len(extra) {
			more = ", " + extra[i]
		}
		fmt.Fprintf(&b, "  - {address: 127.0.0.1, ports: {http: %d}%s}\n", s.port, more)
	}
	return b.String()
}

// rule is a destination rule with the rest of its spec as YAML.
func rule(host, spec string) string {
	return "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: " + strings.ReplaceAll(host, ".", "-") +
		"}\nspec:\n  host: " + host + "\n" + spec
}

// reached is a service with a destination rule, reachable as name.test.
func reached(name string, servers []*origin, policy string) string {
	host := name + ".internal"
	out := fleet(host, servers) + "---\n" + routes(name, name+".test", to(host))
	if policy != "" {
		out += "---\n" + rule(host, "  trafficPolicy: "+policy+"\n")
	}
	return out
}

// unexpectedProblems expects every problem of the status to have one of reasons.
func (w *world) unexpectedProblems(reasons ...string) {
	w.t.Helper()
	for _, p := range w.status().all() {
		if !slices.Contains(reasons, p.Reason) {
			w.t.Errorf("unexpected problem %s: %s", p.Reason, p.text)
		}
	}
}
