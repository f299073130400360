package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// The neighbour is a host that has nothing to do with what a test changes and
// must be served all the time.
const neighbourHost = "neighbour.test"

// withNeighbour adds the neighbour to the files of a world. It stands in two
// files that come last by path, so that it wins by no order.
func withNeighbour(t *testing.T, files map[string]string) map[string]string {
	t.Helper()
	files["zz/service.yaml"] = service("neighbour.internal", backend(t, "neighbour"))
	files["zz/routes.yaml"] = routes("neighbour", neighbourHost, to("neighbour.internal"))
	return files
}

// traffic is a stream of requests that goes on until it is stopped.
type traffic struct {
	t    *testing.T
	what string
	stop context.CancelFunc
	// after is called when all is answered; may be nil.
	after func()
	done  sync.WaitGroup

	mu     sync.Mutex
	sent   int
	faults []string
}

// count notes how one request went; "" is well.
func (tr *traffic) count(fault string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.sent++
	if fault != "" {
		tr.faults = append(tr.faults, fmt.Sprintf("%s: %s", time.Now().Format("15:04:05.000"), fault))
	}
}

// unharmed ends the traffic and demands that all of it was answered well.
func (tr *traffic) unharmed() {
	tr.t.Helper()
	tr.stop()
	tr.done.Wait()
	if tr.after != nil {
		tr.after()
	}
	if tr.sent == 0 {
		tr.t.Errorf("%s: nothing was sent", tr.what)
	}
	if n := len(tr.faults); n > 0 {
		tr.t.Errorf("%s: %d of %d requests were lost:\n%s", tr.what, n, tr.sent, strings.Join(tr.faults[:min(n, 10)], "\n"))
	}
}

// neighbour polls the neighbour.
func (w *world) neighbour() *traffic {
	w.t.Helper()
	return w.polled(neighbourHost, "neighbour")
}

// polled polls a host, which name answers, every 10 ms, in turn over a connection
// that stays and over a new one. The requests are POSTs, which no client repeats by
// itself.
func (w *world) polled(host, name string) *traffic {
	w.t.Helper()
	w.answers(host, "/", http.StatusOK, name)
	ctx, stop := context.WithCancel(context.Background())
	kept, fresh := newClient(), newClient()
	fresh.Transport.(*http.Transport).DisableKeepAlives = true
	url := w.url("/poll")
	tr := &traffic{t: w.t, what: host, stop: stop, after: kept.CloseIdleConnections}
	tr.poll(ctx, func(turn int) string {
		client := kept
		if turn%2 == 1 {
			client = fresh
		}
		return post(client, url, host, name+" "+host+" /poll")
	})
	return tr
}

// readiness polls /readyz in the same way.
func (w *world) readiness() *traffic {
	w.t.Helper()
	w.ready()
	ctx, stop := context.WithCancel(context.Background())
	tr := &traffic{t: w.t, what: "readiness", stop: stop}
	tr.poll(ctx, func(int) string {
		code, body, err := fetch("http://"+w.admin+"/readyz", "")
		if err == nil && code != http.StatusOK {
			err = unexpected(code, body)
		}
		if err != nil {
			return err.Error()
		}
		return ""
	})
	return tr
}

// poll repeats something until ctx ends and counts how it went.
func (tr *traffic) poll(ctx context.Context, once func(turn int) string) {
	tr.done.Go(func() {
		for turn := 0; ctx.Err() == nil; turn++ {
			tr.count(once(turn))
			pause(10 * time.Millisecond)
		}
	})
}

// openLoop sends requests to a host at a rate, whether the ones before are
// answered or not, until it is stopped.
func (w *world) openLoop(host string, rps int) *traffic {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	client, url := newClient(), w.url("/load")
	tr := &traffic{t: w.t, what: fmt.Sprintf("%d requests a second to %s", rps, host), stop: stop, after: client.CloseIdleConnections}
	tr.done.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rps))
		defer tick.Stop()
		var flying sync.WaitGroup
		for ctx.Err() == nil {
			<-tick.C
			flying.Go(func() { tr.count(post(client, url, host, "")) })
		}
		flying.Wait()
	})
	return tr
}

func (w *world) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", w.port, path) }

func newClient() *http.Client {
	return &http.Client{
		Timeout:       10 * time.Second,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// post sends one request and returns what is wrong with the answer; "" if it is
// 200 and starts with want.
func post(client *http.Client, url, host, want string) string {
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader("body"))
	if err != nil {
		return err.Error()
	}
	req.Host = host
	req.GetBody = nil // so that nothing is sent twice
	resp, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err.Error()
	case resp.StatusCode != http.StatusOK:
		return fmt.Sprintf("%s %q %s", resp.Status, body, resp.Header.Get("x-sluice-reason"))
	case !strings.HasPrefix(string(body), want):
		return fmt.Sprintf("%q", body)
	}
	return ""
}

// untilClosed sends requests over one connection until the server asks to close
// it, and calls first after the first answer. It returns how many were answered
// with 200, and an error for one that was not.
func (w *world) untilClosed(host string, first func()) (int, error) {
	dials := 0
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials++; dials > 1 {
			return nil, errors.New("the connection was closed without a word")
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	defer transport.CloseIdleConnections()
	deadline := time.Now().Add(patience)
	for n := 0; ; n++ {
		req, err := http.NewRequest(http.MethodPost, w.url("/drain"), strings.NewReader("body"))
		if err != nil {
			return n, err
		}
		req.Host, req.GetBody = host, nil
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return n, err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		switch {
		case err != nil:
			return n, err
		case resp.StatusCode != http.StatusOK:
			return n, errors.New(resp.Status)
		case resp.Close:
			return n + 1, nil
		case time.Now().After(deadline):
			return n, errors.New("the server never asks to close the connection")
		}
		if n == 0 {
			first()
		}
		pause(10 * time.Millisecond)
	}
}
