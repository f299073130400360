package loadtest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
)

// echoes are TCP servers in this process, named "e000" and up.
type echoes struct {
	refs      []backendRef
	listeners []net.Listener

	mu    sync.Mutex
	conns map[net.Conn]bool
	done  sync.WaitGroup
}

// startEchoes starts n servers that each run serve for every connection.
func startEchoes(n int, serve func(c net.Conn, name string)) (*echoes, error) {
	e := &echoes{conns: map[net.Conn]bool{}}
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			e.close()
			return nil, fmt.Errorf("start server %d: %w", i, err)
		}
		name := fmt.Sprintf("e%03d", i)
		e.listeners = append(e.listeners, l)
		e.refs = append(e.refs, backendRef{name, l.Addr().(*net.TCPAddr).Port})
		e.done.Go(func() { e.accept(l, func(c net.Conn) { serve(c, name) }) })
	}
	return e, nil
}

func (e *echoes) accept(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		e.mu.Lock()
		e.conns[c] = true
		e.mu.Unlock()
		e.done.Go(func() {
			serve(c)
			e.mu.Lock()
			delete(e.conns, c)
			e.mu.Unlock()
			_ = c.Close()
		})
	}
}

// close ends every server and connection.
func (e *echoes) close() {
	for _, l := range e.listeners {
		_ = l.Close()
	}
	e.mu.Lock()
	for c := range e.conns {
		_ = c.Close()
	}
	e.mu.Unlock()
	e.done.Wait()
}

// echoUpgraded answers a request with 101 and then sends everything back.
func echoUpgraded(c net.Conn, _ string) {
	if _, err := readHead(c); err != nil {
		return
	}
	if _, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); err != nil {
		return
	}
	_, _ = io.Copy(c, c)
}

// readHead reads up to the empty line behind an HTTP/1 head, and not a byte more.
func readHead(c net.Conn) ([]byte, error) {
	var head []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if _, err := c.Read(one); err != nil {
			return head, fmt.Errorf("read a head: %w", err)
		}
		head = append(head, one[0])
	}
	return head, nil
}
