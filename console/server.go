package console

import (
	"context"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
)

const (
	headerTimeout   = 10 * time.Second
	exchangeTimeout = 2 * time.Minute // for a request and its answer, but for those that are patient
	idleTimeout     = 2 * time.Minute
	maxHeaderBytes  = 64 << 10
	maxConnections  = 256
)

// NewServer returns a server for the admin API, on TCP and on a unix socket.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: exchangeTimeout, WriteTimeout: exchangeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if u, ok := c.(*net.UnixConn); ok {
				return context.WithValue(ctx, callerKey{}, caller{local: true, owner: owns(u)})
			}
			return ctx
		},
	}
}

// Limit bounds the connections that are open at a time; others wait. The unix
// socket has no limit, so that its owner always gets in.
func Limit(l net.Listener) net.Listener { return netutil.LimitListener(l, maxConnections) }

// owns reports whether the user who runs this process, or root, is at the other end.
func owns(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return false
	}
	return cred.Uid == 0 || int(cred.Uid) == os.Geteuid()
}

// patient lets the exchange that w answers take longer than others.
func patient(w http.ResponseWriter, d time.Duration) {
	c, at := http.NewResponseController(w), time.Now().Add(d)
	_, _ = c.SetReadDeadline(at), c.SetWriteDeadline(at) // not every writer has any, and needs none then
}
