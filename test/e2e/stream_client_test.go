package e2e

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// lineServer is a TCP server that answers every line with its name, the header
// of the PROXY protocol if it got one, and the line.
type lineServer struct {
	name string
	port int
	tls  *tls.Config // nil for plain text

	mu   sync.Mutex
	open int
	sni  []string
}

func newLineServer(t testing.TB, name string, config *tls.Config) *lineServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &lineServer{name: name, port: l.Addr().(*net.TCPAddr).Port, tls: config}
	serveConns(t, l, s.serve)
	return s
}

func (s *lineServer) serve(c net.Conn) {
	defer c.Close()
	s.count(1)
	defer s.count(-1)
	if s.tls != nil {
		secure := tls.Server(c, s.tls)
		if secure.Handshake() != nil {
			return
		}
		s.mu.Lock()
		s.sni = append(s.sni, secure.ConnectionState().ServerName)
		s.mu.Unlock()
		c = secure
	}
	in := bufio.NewReader(c)
	proxied := ""
	for {
		if head, err := in.Peek(6); err == nil && string(head) == "\r\n\r\n\x00\r" {
			proxied = " " + proxyV2(in)
			continue
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if strings.HasPrefix(line, "PROXY ") {
			proxied = " " + strings.TrimSpace(line)
			continue
		}
		if _, err := fmt.Fprintf(c, "%s%s %s", s.name, proxied, line); err != nil {
			return
		}
	}
}

// proxyV2 reads a header of version 2 and says whose connection it is.
func proxyV2(in *bufio.Reader) string {
	head := make([]byte, 16)
	if _, err := io.ReadFull(in, head); err != nil {
		return err.Error()
	}
	rest := make([]byte, int(head[14])<<8|int(head[15]))
	if _, err := io.ReadFull(in, rest); err != nil || len(rest) < 12 {
		return fmt.Sprintf("PROXYv2 of %d bytes %v", len(rest), err)
	}
	return "PROXYv2 " + net.IP(rest[:4]).String()
}

func (s *lineServer) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
}

// opened counts the connections that are open.
func (s *lineServer) opened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// named is the last server name that a client asked for.
func (s *lineServer) named() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sni) == 0 {
		return ""
	}
	return s.sni[len(s.sni)-1]
}

// dialing is a TCP or TLS connection to the world.
type dialing struct {
	port  int
	from  string // address of the client
	sni   string // for TLS
	first string // sent before anything else, TLS included
}

func (d dialing) open() (net.Conn, error) {
	dialer := net.Dialer{Timeout: patience}
	if d.from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(d.from)}
	}
	c, err := dialer.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", d.port))
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, d.first); err != nil {
		c.Close()
		return nil, err
	}
	if d.sni == "" {
		return c, nil
	}
	secure := tls.Client(c, &tls.Config{ServerName: d.sni, InsecureSkipVerify: true})
	if err := secure.Handshake(); err != nil {
		c.Close()
		return nil, err
	}
	return secure, nil
}

// say sends a line over a connection of its own and returns the answer; an
// error means that the connection was closed instead.
func (d dialing) say(line string) (string, error) {
	c, err := d.open()
	if err != nil {
		return "", err
	}
	defer c.Close()
	return say(c, line)
}

func say(c net.Conn, line string) (string, error) {
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(answer), err
}

// hears expects an answer at the first try; "" expects a closed connection.
func (w *world) hears(d dialing, want string) {
	w.t.Helper()
	got, err := d.say("hello")
	if want == "" {
		var late net.Error
		if err == nil || errors.As(err, &late) && late.Timeout() {
			w.t.Errorf("%+v answers %q %v, want a closed connection", d, got, err)
		}
		return
	}
	if err != nil || got != want+" hello" {
		w.t.Errorf("%+v answers %q %v, want %q", d, got, err, want)
	}
}

// willHear waits for an answer.
func (w *world) willHear(d dialing, want string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%+v is answered by %s", d, want), func() error {
		got, err := d.say("hello")
		if err == nil && got != want+" hello" {
			err = errNot(got)
		}
		return err
	})
}

func portOf(a net.Addr) int { return a.(*net.TCPAddr).Port }

// serveConns serves every connection of l until the test ends.
func serveConns(t testing.TB, l net.Listener, serve func(net.Conn)) {
	t.Helper()
	var running sync.WaitGroup
	conns := make(chan net.Conn, 1024)
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- c
			running.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		close(conns)
		for c := range conns {
			c.Close()
		}
		running.Wait()
	})
}
