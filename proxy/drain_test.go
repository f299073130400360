package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// forever is a drain time that no test waits for.
const forever = time.Hour

// dial opens a connection that ends with the test.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// h2 is a client of HTTP/2 that says what each frame is.
type h2 struct {
	*http2.Framer
	t *testing.T
}

// dialH2 begins HTTP/2 with a window for the body of answers, in bytes, and
// returns when the other side has agreed to it.
func dialH2(t *testing.T, addr string, window uint32) h2 {
	t.Helper()
	c := dial(t, addr)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := h2{http2.NewFramer(c, c), t}
	if err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}); err != nil {
		t.Fatal(err)
	}
	f.await(func(fr http2.Frame) bool {
		s, ok := fr.(*http2.SettingsFrame)
		return ok && s.IsAck()
	})
	return f
}

// post sends a whole request on stream 1.
func (f h2) post(body string) {
	f.t.Helper()
	var head bytes.Buffer
	e := hpack.NewEncoder(&head)
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/"}} {
		if err := e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			f.t.Fatal(err)
		}
	}
	err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true})
	if err = errors.Join(err, f.WriteData(1, true, []byte(body))); err != nil {
		f.t.Fatal(err)
	}
}

// await reads until a frame fits, and fails the test when there is none.
func (f h2) await(fits func(http2.Frame) bool) {
	f.t.Helper()
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			f.t.Fatalf("the frame that is waited for never comes: %v", err)
		}
		if fits(fr) {
			return
		}
	}
}

// Idle connections are told and closed; none of them is waited for.
func TestDrainTellsIdleClientsAndWaitsForNone(t *testing.T) {
	w := newWorld(t)
	o := w.options(t)
	o.DrainTime = forever
	s, stop := supervise(t, o)
	awaitPhase(t, s, PhaseRunning)
	kept := &http.Transport{}
	defer kept.CloseIdleConnections()
	if _, err := post(kept, w.addr, "and then nothing"); err != nil {
		t.Fatal(err)
	}
	silent, idle, half := dial(t, w.addr), dialH2(t, w.addr, 1<<16), dial(t, w.addr)
	served := dialH2(t, w.addr, 1<<16)
	served.post("once")
	served.await(func(fr http2.Frame) bool {
		d, ok := fr.(*http2.DataFrame)
		return ok && d.StreamEnded()
	})
	if _, err := io.WriteString(half, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAtLeast(half, make([]byte, 1<<10), 12); err != nil {
		t.Fatal(err)
	}
	stop()
	for name, c := range map[string]h2{"without a request": idle, "after a request": served} {
		t.Run("HTTP2 "+name, func(t *testing.T) {
			c.t = t
			c.await(func(fr http2.Frame) bool { _, told := fr.(*http2.GoAwayFrame); return told })
		})
	}
	for name, c := range map[string]net.Conn{"never spoke": silent, "HTTP/1": half} {
		if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
			t.Errorf("a connection (%s) ends with %q, %v; want its end and nothing else", name, rest, err)
		}
	}
}

// What is under way ends first, and nothing else is waited for.
func TestDrainWaitsForWork(t *testing.T) {
	t.Run("a request", func(t *testing.T) {
		w := newWorld(t)
		body, rest := io.Pipe()
		answer := make(chan error, 1)
		draining(t, w, func() {
			go func() {
				answer <- upload(w.addr, body)
			}()
			if _, err := io.WriteString(rest, "first half, "); err != nil {
				t.Fatal(err)
			}
		}, func() {
			_, err := io.WriteString(rest, "second half")
			if err = errors.Join(err, rest.Close(), <-answer); err != nil {
				t.Errorf("the request is lost: %v", err)
			}
		})
	})
	t.Run("an answer that the client has not read", func(t *testing.T) {
		w := newWorld(t)
		const text = "more than fits into the window"
		var c h2
		got := ""
		read := func(fr http2.Frame) bool {
			d, ok := fr.(*http2.DataFrame)
			if ok {
				got += string(d.Data())
			}
			return ok
		}
		draining(t, w, func() {
			c = dialH2(t, w.addr, 5)
			c.post(text)
			c.await(read)
		}, func() {
			if err := c.WriteWindowUpdate(1, 1<<16); err != nil {
				t.Fatal(err)
			}
			c.await(func(fr http2.Frame) bool { return read(fr) && fr.(*http2.DataFrame).StreamEnded() })
		})
		if got != text {
			t.Errorf("the client got %q", got)
		}
	})
}

// upload sends a body of unknown length and wants it back.
func upload(addr string, body io.Reader) error {
	transport := &http.Transport{DisableKeepAlives: true}
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/", body)
	if err != nil {
		return err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err == nil && string(got) != "first half, second half" {
		err = errors.New("answer " + res.Status + " " + string(got))
	}
	return err
}

// draining begins something, stops the supervisor, ends the thing well after the
// listener closed, and returns when the supervisor has ended.
func draining(t *testing.T, w *world, begin, end func()) {
	t.Helper()
	o := w.options(t)
	o.DrainTime = forever
	s, stop := supervise(t, o)
	awaitPhase(t, s, PhaseRunning)
	begin()
	ended := make(chan struct{})
	go func() {
		stop()
		close(ended)
	}()
	eventually(t, "the listener closes", func() bool {
		c, err := net.Dial("tcp", w.addr)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	// An Envoy without work would not be seen so often again.
	for range 4 * settleTime / drainPoll {
		<-time.After(drainPoll)
	}
	select {
	case <-ended:
		t.Error("envoy ended before its work")
	default:
	}
	end()
	<-ended
}

// Until the declared time is over all goes on as before.
func TestDrainBeginsAfterTheMinimum(t *testing.T) {
	w := newWorld(t)
	o := w.options(t)
	begin := make(chan time.Time)
	o.DrainTime, o.DrainMin = forever, 77*time.Minute
	o.Clock = Clock{Now: time.Now, After: func(d time.Duration) <-chan time.Time {
		if d == o.DrainMin {
			return begin
		}
		return time.After(d)
	}}
	s, stop := supervise(t, o)
	awaitPhase(t, s, PhaseRunning)
	ended := make(chan struct{})
	go func() {
		stop()
		close(ended)
	}()
	awaitPhase(t, s, PhaseDraining)
	kept := &http.Transport{}
	defer kept.CloseIdleConnections()
	for range 3 {
		if told, err := post(kept, w.addr, "as before"); err != nil || told {
			t.Errorf("before the minimum is over a client is told to leave (%v) or refused: %v", told, err)
		}
	}
	begin <- time.Time{}
	<-ended
	if raw, err := os.ReadFile(w.dir + "/envoy-0.drain"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("left behind: %q %v", raw, err)
	}
}
