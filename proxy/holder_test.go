package proxy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// shared opens a socket as Envoy does: others of the user may share the address.
func shared(t *testing.T, network, address string) netip.AddrPort {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if control := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}); control != nil {
			return control
		}
		return err
	}}
	if !strings.HasPrefix(address, "[") {
		network += "4" // else all addresses of IPv4 are those of IPv6, too
	}
	if strings.HasPrefix(network, "udp") {
		c, err := lc.ListenPacket(context.Background(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	l, err := lc.Listen(context.Background(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func TestHolder(t *testing.T) {
	s := New(Options{DataDir: "/nowhere"})
	me := fmt.Sprintf("(pid %d)", os.Getpid())
	for _, network := range []string{"tcp", "udp"} {
		for name, c := range map[string]struct {
			holds, asked string
			found        bool
		}{
			"the same address":                {"127.0.0.1", "127.0.0.1", true},
			"all addresses":                   {"0.0.0.0", "127.0.0.1", true},
			"one address of all":              {"127.0.0.1", "0.0.0.0", true},
			"another address":                 {"127.0.0.1", "127.0.0.2", false},
			"the same address of IPv6":        {"::1", "::1", true},
			"all addresses of both":           {"::", "0.0.0.0", true},
			"one of IPv6, and all of IPv4":    {"::1", "0.0.0.0", false},
			"one of IPv4, and all of IPv6":    {"127.0.0.1", "::", false},
			"all of both, and all of IPv6":    {"::", "::", true},
			"one of IPv6, and another of it":  {"::1", "::2", false},
			"one of IPv4, and the one of v6":  {"127.0.0.1", "::1", false},
			"all of IPv4, and that one of v6": {"0.0.0.0", "::1", false},
		} {
			t.Run(network+", "+name, func(t *testing.T) {
				port := shared(t, network, net.JoinHostPort(c.holds, "0")).Port()
				who := s.Holder(network, netip.AddrPortFrom(netip.MustParseAddr(c.asked), port))
				if strings.Contains(who, me) != c.found || c.found == (who == "") {
					t.Errorf("%s is held by %q; %s has %s", c.asked, who, me, c.holds)
				}
				other := map[string]string{"tcp": "udp", "udp": "tcp"}[network]
				if who := s.Holder(other, netip.AddrPortFrom(netip.MustParseAddr(c.asked), port)); strings.Contains(who, me) {
					t.Errorf("over %s %s is held by %q", other, c.asked, who)
				}
			})
		}
	}
}

// Connections that outlive their listener do not hold its address.
func TestHolderOfConnectionsIsNone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, l.Addr().String())
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	_ = l.Close()
	if who := New(Options{}).Holder("tcp", l.Addr().(*net.TCPAddr).AddrPort()); who != "" {
		t.Errorf("it is held by %q while %s is open", who, c.LocalAddr())
	}
}

// An Envoy of this data directory is no stranger.
func TestHolderIsNotOurs(t *testing.T) {
	w := newWorld(t)
	s, _ := supervise(t, w.options(t))
	pid := awaitPhase(t, s, PhaseRunning).PID
	addr := netip.MustParseAddrPort(w.addr)
	if who := s.Holder("tcp", addr); who != "" {
		t.Errorf("our own listener is held by %q", who)
	}
	if who := New(Options{DataDir: w.dir + "/other"}).Holder("tcp", addr); who != fmt.Sprintf("envoy (pid %d)", pid) {
		t.Errorf("for another data directory it is held by %q", who)
	}
}
