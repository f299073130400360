package envoytest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// The ports that tests listen on lie below those that systems give to outgoing
// connections (Linux: from 32768), so that no client takes one meanwhile.
const (
	firstPort = 12000
	lastPort  = 32000
)

// FreePort returns a port of 127.0.0.1 that nobody listens on now.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no free port found")
	return 0
}
