package acme

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	acmez "github.com/mholt/acmez/v3"
)

const (
	// challengeTimeout bounds one answer.
	challengeTimeout = 10 * time.Second
	// challengeLimit is how many TLS-ALPN-01 challenges are answered at once.
	challengeLimit = 256
	// acceptPause follows a connection that could not be taken.
	acceptPause = 50 * time.Millisecond
	// challengeHeader bounds the headers of a request, in bytes.
	challengeHeader = 16 << 10
)

// challenges answers for all hosts that any process orders for.
type challenges struct {
	http, tls net.Listener
	answer    *certmagic.Config
	// known reports whether a host is one of ours: strangers cause no read of
	// storage.
	known func(host string) bool
}

// listen opens the two ports.
func listen() (*challenges, error) {
	c := &challenges{}
	var err error
	if c.http, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("listen for ACME challenges: %w", err)
	}
	if c.tls, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for ACME challenges: %w", err), c.http.Close())
	}
	return c, nil
}

// address returns that of a listener.
func address(l net.Listener) netip.AddrPort {
	a, _ := l.Addr().(*net.TCPAddr)
	return a.AddrPort()
}

func (c *challenges) close() error { return errors.Join(c.http.Close(), c.tls.Close()) }

// serve answers until ctx ends.
func (c *challenges) serve(ctx context.Context) {
	var wg sync.WaitGroup
	server := &http.Server{
		Handler: c, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		ReadTimeout: challengeTimeout, WriteTimeout: challengeTimeout, IdleTimeout: challengeTimeout,
		MaxHeaderBytes: challengeHeader,
		BaseContext:    func(net.Listener) context.Context { return ctx },
	}
	wg.Go(func() { _ = server.Serve(c.http) })
	wg.Go(func() { c.serveTLS(ctx) })
	<-ctx.Done()
	_ = server.Close()
	_ = c.tls.Close()
	wg.Wait()
}

// ServeHTTP answers an HTTP-01 challenge, RFC 8555 section 8.3.
func (c *challenges) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, challengePath) && c.known(hostname(r.Host)) {
		if first, ok := c.answer.Issuers[0].(answerer); ok && first.HandleHTTPChallenge(w, r) {
			return
		}
	}
	http.NotFound(w, r)
}

// hostname returns a Host header without its port, in lower case.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// serveTLS answers TLS-ALPN-01 challenges, RFC 8737.
func (c *challenges) serveTLS(ctx context.Context) {
	config := &stdtls.Config{
		MinVersion: stdtls.VersionTLS12, NextProtos: []string{acmez.ACMETLS1Protocol},
		GetCertificate: func(hello *stdtls.ClientHelloInfo) (*stdtls.Certificate, error) {
			protocols := hello.SupportedProtos
			if len(protocols) != 1 || protocols[0] != acmez.ACMETLS1Protocol || !c.known(hostname(hello.ServerName)) {
				return nil, errors.New("not a challenge")
			}
			return c.answer.GetCertificate(hello)
		},
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, challengeLimit)
	for {
		conn, err := c.tls.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files, most likely
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			defer func() { _ = conn.Close() }()
			ctx, cancel := context.WithTimeout(ctx, challengeTimeout)
			defer cancel()
			_ = stdtls.Server(conn, config).HandshakeContext(ctx)
		})
	}
}
