package loadtest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// requestTimeout bounds one request of a client.
const requestTimeout = 10 * time.Second

// client is one keep-alive connection. It never retries: what a proxy loses is
// seen as an error. It is for one goroutine at a time.
type client struct {
	address string
	tls     *tls.Config // nil for plain text
	conn    net.Conn
	in      *bufio.Reader
}

// answer is what came back.
type answer struct {
	code    int
	backend string // "" when the proxy itself answered
}

func (a answer) String() string { return fmt.Sprintf("%d from %q", a.code, a.backend) }

// ask sends a GET of "/" for a host; see [client.askFor].
func (c *client) ask(ctx context.Context, host string) (answer, error) {
	return c.askFor(ctx, page{host, "/"})
}

// askFor sends a GET and returns the answer. It dials when there is no
// connection; after an error there is none.
func (c *client) askFor(ctx context.Context, p page) (answer, error) {
	a, err := c.exchange(ctx, "GET "+p.path+" HTTP/1.1\r\nHost: "+p.host+"\r\n\r\n")
	if err != nil {
		c.close()
		return answer{}, fmt.Errorf("ask %s for %s%s: %w", c.address, p.host, p.path, err)
	}
	return a, nil
}

func (c *client) exchange(ctx context.Context, request string) (answer, error) {
	if c.conn == nil {
		if err := c.open(ctx); err != nil {
			return answer{}, err
		}
	}
	if err := c.conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return answer{}, err
	}
	if _, err := io.WriteString(c.conn, request); err != nil {
		return answer{}, err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return answer{}, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return answer{}, err
	}
	if resp.Close {
		c.close()
	}
	return answer{resp.StatusCode, resp.Header.Get(headerBackend)}, nil
}

// open dials, and with TLS shakes hands.
func (c *client) open(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: requestTimeout}).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	if c.tls != nil {
		secure := tls.Client(conn, c.tls)
		if err := conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
			return errors.Join(err, conn.Close())
		}
		if err := secure.HandshakeContext(ctx); err != nil {
			_, _ = conn.(*net.TCPConn).SetLinger(0), conn.Close()
			return err
		}
		conn = secure
	}
	c.conn, c.in = conn, bufio.NewReader(conn)
	return nil
}

// reset closes without a word.
func (c *client) reset() {
	if c.conn == nil {
		return
	}
	raw := c.conn
	if secure, ok := raw.(*tls.Conn); ok {
		raw = secure.NetConn()
	}
	_, _ = raw.(*net.TCPConn).SetLinger(0), raw.Close()
	c.conn = nil
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// pause waits for d or until ctx ends, and returns the error of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}
