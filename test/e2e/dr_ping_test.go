package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// pingServer is an HTTP/2 server that answers every request with its name and
// counts the pings of each connection.
type pingServer struct {
	name    string
	port    int
	answers bool // pings too

	mu    sync.Mutex
	conns []*pinged
}

// pinged is a connection.
type pinged struct {
	pings  int
	closed bool
}

func newPingServer(t testing.TB, name string, answers bool) *pingServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &pingServer{name: name, port: portOf(l.Addr()), answers: answers}
	serveConns(t, l, s.serve)
	return s
}

func (s *pingServer) serve(c net.Conn) {
	defer c.Close()
	own := new(pinged)
	s.note(func() { s.conns = append(s.conns, own) })
	defer s.note(func() { own.closed = true })
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(c, c)
	err := framer.WriteSettings()
	for err == nil {
		var f http2.Frame
		if f, err = framer.ReadFrame(); err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = framer.WriteSettingsAck()
			}
		case *http2.HeadersFrame:
			err = s.answer(framer, f.StreamID)
		case *http2.PingFrame:
			s.note(func() { own.pings++ })
			if s.answers {
				err = framer.WritePing(true, f.Data)
			}
		}
	}
}

func (s *pingServer) answer(framer *http2.Framer, stream uint32) error {
	var head bytes.Buffer
	if err := hpack.NewEncoder(&head).WriteField(hpack.HeaderField{Name: ":status", Value: "200"}); err != nil {
		return err
	}
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: head.Bytes(), EndHeaders: true}); err != nil {
		return err
	}
	return framer.WriteData(stream, true, []byte(s.name))
}

func (s *pingServer) note(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// seen are the connections as they are now, oldest first.
func (s *pingServer) seen() (out []pinged) {
	s.note(func() {
		for _, c := range s.conns {
			out = append(out, *c)
		}
	})
	return out
}

// Connections are pinged at the interval, and closed when a ping is not
// answered in time; without the policy nobody pings.
func TestHTTP2Keepalive(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		keepalive string
		answers   bool
	}{
		"answers": {", http2KeepAlive: {interval: 100ms, timeout: 20s}", true},
		"deaf":    {", http2KeepAlive: {interval: 100ms, timeout: 300ms}", false},
		"patient": {", http2KeepAlive: {interval: 100ms, timeout: 1h}", false},
		"rarely":  {", http2KeepAlive: {interval: 1h, timeout: 1s}", false},
		"never":   {"", false},
	}
	servers, files := map[string]*pingServer{}, map[string]string{"gateway.yaml": edge("*")}
	for name, c := range cases {
		servers[name] = newPingServer(t, name, c.answers)
		files[name+".yaml"] = reached(name, []*origin{{port: servers[name].port}}, "{connectionPool: {http: {h2UpgradePolicy: UPGRADE"+c.keepalive+"}}}")
	}
	w := newWorld(t, files).run().settled()
	w.flawless()
	for name := range cases {
		w.answersNow(name+".test", "/", http.StatusOK, name)
	}
	latest := func(name string, fits func(pinged) bool) {
		t.Helper()
		w.eventually(name+" is pinged so", func() error {
			if seen := servers[name].seen(); len(seen) == 0 || !fits(seen[len(seen)-1]) {
				return fmt.Errorf("its connections are %+v", seen)
			}
			return nil
		})
	}
	latest("answers", func(c pinged) bool { return c.pings >= 3 })
	latest("patient", func(c pinged) bool { return c.pings > 0 })
	// While the patient one waits, the other gives up, over and over.
	for range 3 {
		latest("deaf", func(c pinged) bool { return c.closed && c.pings > 0 })
		w.answersNow("deaf.test", "/", http.StatusOK, "deaf")
	}
	for name, pings := range map[string]int{"patient": 1, "rarely": 0, "never": 0} {
		if seen := servers[name].seen(); len(seen) != 1 || seen[0] != (pinged{pings: pings}) {
			t.Errorf("%s: the connections are %+v, want one that is open with %d pings", name, seen, pings)
		}
	}
	for name := range cases {
		w.answersNow(name+".test", "/", http.StatusOK, name)
	}
	if seen := servers["answers"].seen(); len(seen) != 1 || seen[0].closed {
		t.Errorf("of who answers pings, the connections are %+v, want one that is open", seen)
	}
}
