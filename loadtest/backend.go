package loadtest

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"sync"
)

// headerBackend names the backend that answered.
const headerBackend = "X-Backend"

// backends are HTTP servers in this process. Each answers every request with
// 200 and its name. They speak just enough HTTP/1.1 for Envoy to keep its
// connections, so that they cost the machine little.
type backends struct {
	refs      []backendRef
	listeners []net.Listener

	mu    sync.Mutex
	conns map[net.Conn]bool
	done  sync.WaitGroup
}

// startBackends starts n of them, named "s000" and up.
func startBackends(n int) (*backends, error) {
	b := &backends{conns: map[net.Conn]bool{}}
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.close()
			return nil, fmt.Errorf("start backend %d: %w", i, err)
		}
		name := fmt.Sprintf("s%03d", i)
		b.listeners = append(b.listeners, l)
		b.refs = append(b.refs, backendRef{name, l.Addr().(*net.TCPAddr).Port})
		b.done.Go(func() { b.accept(l, name) })
	}
	return b, nil
}

func (b *backends) accept(l net.Listener, name string) {
	reply := []byte("HTTP/1.1 200 OK\r\n" + headerBackend + ": " + name + "\r\nContent-Length: 5\r\n\r\n" + name + "\n")
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.conns[c] = true
		b.mu.Unlock()
		b.done.Go(func() {
			answerAll(c, reply)
			b.mu.Lock()
			delete(b.conns, c)
			b.mu.Unlock()
			_ = c.Close()
		})
	}
}

// answerAll answers every request on c until the peer is gone.
func answerAll(c net.Conn, reply []byte) {
	in := bufio.NewReader(c)
	for {
		if hasBody, err := skipHead(in); err != nil || hasBody {
			return
		}
		if _, err := c.Write(reply); err != nil {
			return
		}
	}
}

// skipHead reads up to the empty line behind the headers and reports whether
// they announce a body.
func skipHead(in *bufio.Reader) (hasBody bool, err error) {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return hasBody, nil
		}
		key, value, _ := bytes.Cut(line, []byte(":"))
		switch http.CanonicalHeaderKey(string(key)) {
		case "Transfer-Encoding":
			hasBody = true
		case "Content-Length":
			hasBody = string(bytes.TrimSpace(value)) != "0"
		}
	}
}

// close ends every server and connection.
func (b *backends) close() {
	for _, l := range b.listeners {
		_ = l.Close()
	}
	b.mu.Lock()
	for c := range b.conns {
		_ = c.Close()
	}
	b.mu.Unlock()
	b.done.Wait()
}
