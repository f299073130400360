package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// stubborn is a server that answers 503 to the first request for a path and
// holds those after it, which are retries, until it lets everything go. It holds
// the first request for /hold… too, and answers /fine at once.
type stubborn struct {
	port int
	open chan struct{} // closed to let go

	mu    sync.Mutex
	tries map[string]int // by path
	held  int            // retries that were ever held
	kept  int            // requests for /hold… that arrived
}

func newStubborn(t *testing.T) *stubborn {
	t.Helper()
	s := &stubborn{open: make(chan struct{}), tries: map[string]int{}}
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		s.letGo()
		server.CloseClientConnections()
		server.Close()
	})
	s.port = portOf(server.Listener.Addr())
	return s
}

func (s *stubborn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.tries[r.URL.Path]++
	first, hold, fine := s.tries[r.URL.Path] == 1, strings.HasPrefix(r.URL.Path, "/hold"), r.URL.Path == "/fine"
	switch {
	case fine:
	case hold:
		s.kept++
	case !first:
		s.held++
	}
	s.mu.Unlock()
	switch {
	case fine:
	case first && !hold:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		select {
		case <-s.open:
		case <-r.Context().Done():
		}
	}
}

// letGo ends all that is held, now and later.
func (s *stubborn) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.open:
	default:
		close(s.open)
	}
}

func (s *stubborn) counts() (held, kept int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held, s.kept
}

// insistent is the service of one case: every 503 is tried once more.
func insistent(name string, port int, policy string) string {
	host := name + ".internal"
	out := service(host, port) + "---\n" + routes(name, name+".test", strings.Replace(sent("retries: {attempts: 1, retryOn: '503'}"), "seen.internal", host, 1))
	if policy != "" {
		out += "---\n" + rule(host, "  trafficPolicy: "+policy+"\n")
	}
	return out
}

// budgeted is a limit of retries and how many of the requests are retried under
// it, while no retry ends.
type budgeted struct {
	policy  string
	waiting int // other requests that wait for the server meanwhile
	ended   int // requests that ended just before
	failed  int // requests that fail at their first try
	retried int // of those
}

// A limit of concurrent retries turns away those beyond it: the first answer
// goes to the client. Retries that have ended make room for others.
func TestRetryLimits(t *testing.T) {
	t.Parallel()
	cases := map[string]budgeted{
		"unlimited":  {failed: 8, retried: 8},
		"other":      {policy: "{connectionPool: {http: {http2MaxRequests: 1000}}}", failed: 8, retried: 8},
		"max":        {policy: "{connectionPool: {http: {maxRetries: 2}}}", failed: 8, retried: 2},
		"max-one":    {policy: "{connectionPool: {http: {maxRetries: 1}}}", failed: 4, retried: 1},
		"max-wide":   {policy: "{connectionPool: {http: {maxRetries: 100}}}", failed: 8, retried: 8},
		"budget":     {policy: "{retryBudget: {percent: 0, minRetryConcurrency: 2}}", failed: 8, retried: 2},
		"defaults":   {policy: "{retryBudget: {}}", failed: 8, retried: 3},
		"idle":       {policy: "{retryBudget: {percent: 20, minRetryConcurrency: 1}}", failed: 8, retried: 1},
		"busy":       {policy: "{retryBudget: {percent: 20, minRetryConcurrency: 1}}", waiting: 10, failed: 8, retried: 2},
		"forgetful":  {policy: "{retryBudget: {percent: 20, minRetryConcurrency: 1}}", ended: 20, failed: 4, retried: 1},
		"interval":   {policy: "{retryBudget: {percent: 20, minRetryConcurrency: 1, budgetInterval: 1h}}", ended: 20, failed: 4, retried: 4},
		"over-limit": {policy: "{retryBudget: {percent: 0, minRetryConcurrency: 3}, connectionPool: {http: {maxRetries: 1}}}", failed: 6, retried: 3},
	}
	files := map[string]string{"gateway.yaml": edge("*")}
	servers := map[string]*stubborn{}
	for name, c := range cases {
		servers[name] = newStubborn(t)
		files[name+".yaml"] = insistent(name, servers[name].port, c.policy)
	}
	w := newWorld(t, files).run().settled()
	w.flawless()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { c.check(w.in(t), name+".test", servers[name]) })
	}
}

func (c budgeted) check(w *world, host string, server *stubborn) {
	var waiting, failing crowd
	for i := range c.waiting {
		waiting.ask(w, query{host: host, path: "/hold" + itoa(i)})
	}
	w.eventually("all that wait are at the server", func() error {
		if _, kept := server.counts(); kept != c.waiting {
			return fmt.Errorf("%d wait", kept)
		}
		return nil
	})
	for range c.ended {
		w.must(query{host: host, path: "/fine"})
	}
	for i := range c.failed {
		failing.ask(w, query{host: host, path: "/" + itoa(i)})
		w.eventually("it is answered or tried again", func() error {
			if held, _ := server.counts(); held+failing.answered() != i+1 {
				return fmt.Errorf("%d are tried again, %d are answered", held, failing.answered())
			}
			return nil
		})
	}
	if held, _ := server.counts(); held != c.retried {
		w.t.Errorf("%d of %d requests are tried again, want %d", held, c.failed, c.retried)
	}
	server.letGo()
	failing.running.Wait()
	waiting.running.Wait()
	if ok, refused := failing.count(http.StatusOK), failing.count(http.StatusServiceUnavailable); ok != c.retried || refused != c.failed-c.retried {
		w.t.Errorf("%d are answered 200 and %d 503, want %d of %d to succeed: %q", ok, refused, c.retried, c.failed, failing.bodies)
	}
	turn := 0
	w.eventually("there is room for a retry again", func() error {
		turn++
		r, err := w.do(query{host: host, path: "/again" + itoa(turn)})
		if err == nil && r.code != http.StatusOK {
			err = unexpected(r.code, r.body)
		}
		return err
	})
}
