package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// proxyHeader is a header of version 2 for a TCP connection between two
// addresses of one family. Source: the PROXY protocol's specification, section
// 2.2.
func proxyHeader(from, to string) string {
	source, target := netip.MustParseAddr(from), netip.MustParseAddr(to)
	const tcp4, tcp6 = 0x11, 0x21
	family := byte(tcp4)
	if source.Is6() {
		family = tcp6
	}
	addresses := append(source.AsSlice(), target.AsSlice()...)
	addresses = append(addresses, 1111>>8, 1111&0xff, 2222>>8, 2222&0xff)
	return proxyV2Header(0x21, family, addresses)
}

// proxyV2Header is a header with any version and command, and any family.
func proxyV2Header(command, family byte, addresses []byte) string {
	out := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family, byte(len(addresses)>>8), byte(len(addresses)))
	return string(append(out, addresses...))
}

// localHeader is what a proxy sends for a connection of its own.
func localHeader() string { return proxyV2Header(0x20, 0, nil) }

// forwarded asks over HTTP and returns whom the server takes for the client; an
// error means that the connection was closed instead.
func (d dialing) forwarded(host string) (string, error) {
	c, err := d.open()
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	for line := range strings.Lines(string(b)) {
		if client, ok := strings.CutPrefix(line, "x-forwarded-for: "); ok {
			return strings.TrimSpace(client), err
		}
	}
	return "", fmt.Errorf("it answers %d %q %w", resp.StatusCode, b, err)
}

// isClosed reports whether an error says that the other side closed the
// connection, rather than that time ran out.
func isClosed(err error) bool {
	var late net.Error
	return err != nil && (!errors.As(err, &late) || !late.Timeout())
}

// Version 2 of the PROXY protocol tells HTTP destinations the client's address
// if it comes from a trusted source; a claim of anybody else is not served.
func TestProxyProtocolOverHTTP(t *testing.T) {
	t.Parallel()
	some, all, none := freePort(t), freePort(t), freePort(t)
	at := func(name string, port int, trusted string) string {
		text := strings.Replace(gateway(name, "*"), "$PORT", itoa(port), 1)
		if trusted != "" {
			text = strings.Replace(text, "{name: "+name+"}", "{name: "+name+", annotations: {sluice.dev/proxy-protocol: "+trusted+"}}", 1)
		}
		return text
	}
	w := newWorld(t, map[string]string{
		"some.yaml": at("some", some, "'127.0.0.5, 127.0.4.0/24'"), "all.yaml": at("all", all, "'*'"), "none.yaml": at("none", none, ""),
		"o.yaml": strings.Replace(reached("o", []*origin{newOrigin(t, "o")}, ""), "gateways: [edge]", "gateways: [some, all, none]", 1),
	}).run().settled()
	w.flawless()
	v4, v6 := proxyHeader("10.1.2.3", "10.4.5.6"), proxyHeader("2001:db8::7", "2001:db8::8")
	const v1 = "PROXY TCP4 10.1.2.3 10.4.5.6 1111 2222\r\n"
	for _, c := range []struct {
		name string
		dialing
		want string // the client; "" is a closed connection
	}{
		{"trusted", dialing{port: some, from: "127.0.0.5", first: v4}, "10.1.2.3"},
		{"trusted range", dialing{port: some, from: "127.0.4.9", first: v4}, "10.1.2.3"},
		{"trusted IPv6", dialing{port: some, from: "127.0.0.5", first: v6}, "2001:db8::7"},
		{"trusted version 1", dialing{port: some, from: "127.0.0.5", first: v1}, "10.1.2.3"},
		{"trusted without", dialing{port: some, from: "127.0.0.5"}, "127.0.0.5"},
		{"trusted local", dialing{port: some, from: "127.0.0.5", first: localHeader()}, "127.0.0.5"},
		{"untrusted", dialing{port: some, from: "127.0.0.6", first: v4}, ""},
		{"untrusted IPv6", dialing{port: some, from: "127.0.0.6", first: v6}, ""},
		{"beside the range", dialing{port: some, from: "127.0.5.9", first: v4}, ""},
		{"claims to be trusted", dialing{port: some, from: "127.0.0.6", first: proxyHeader("127.0.0.5", "127.0.0.1")}, ""},
		{"untrusted without", dialing{port: some, from: "127.0.0.6"}, "127.0.0.6"},
		{"untrusted local", dialing{port: some, from: "127.0.0.6", first: localHeader()}, "127.0.0.6"},
		{"untrusted of itself", dialing{port: some, from: "127.0.0.6", first: proxyHeader("127.0.0.6", "127.0.0.1")}, "127.0.0.6"},
		{"bad version", dialing{port: some, from: "127.0.0.5", first: proxyV2Header(0x31, 0x11, make([]byte, 12))}, ""},
		{"too short", dialing{port: some, from: "127.0.0.5", first: proxyV2Header(0x21, 0x11, make([]byte, 4))}, ""},
		{"everybody", dialing{port: all, from: "127.0.0.6", first: v4}, "10.1.2.3"},
		{"everybody without", dialing{port: all, from: "127.0.0.6"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, err := c.forwarded("o.test")
			switch {
			case c.want == "" && !isClosed(err):
				t.Errorf("the server sees %q %v, want a closed connection", client, err)
			case c.want != "" && (err != nil || client != c.want):
				t.Errorf("the server sees %q %v, want %q", client, err, c.want)
			}
		})
	}
	// A port that does not take it reads the header as a bad request.
	if client, err := (dialing{port: none, from: "127.0.0.5", first: v4}).forwarded("o.test"); err == nil {
		t.Errorf("without the annotation the server sees %q", client)
	}
	if client, err := (dialing{port: none, from: "127.0.0.5"}).forwarded("o.test"); err != nil || client != "127.0.0.5" {
		t.Errorf("without the annotation and the header the server sees %q %v", client, err)
	}
}

// It does the same for destinations of TCP, which are told by the header that
// the policy sends on.
func TestProxyProtocolVersion2OverTCP(t *testing.T) {
	t.Parallel()
	s := newLineServer(t, "s", nil)
	port := freePort(t)
	w := newWorld(t, map[string]string{
		"gateway.yaml": l4(", annotations: {sluice.dev/proxy-protocol: 127.0.0.5}", server(port, "TCP", ", hosts: ['*']")),
		"s.yaml": lines("s.internal", s) + "---\n" + rule("s.internal", "  trafficPolicy: {proxyProtocol: {version: V2}}\n") + "---\n" +
			streams("s", "*", "  tcp:\n  - route: [{destination: {host: s.internal}}]\n"),
	}).run().settled()
	w.flawless()
	v4 := proxyHeader("10.1.2.3", "10.4.5.6")
	w.hears(dialing{port: port, from: "127.0.0.5", first: v4}, "s PROXYv2 10.1.2.3")
	w.hears(dialing{port: port, from: "127.0.0.5", first: localHeader()}, "s PROXYv2 127.0.0.5")
	w.hears(dialing{port: port, from: "127.0.0.6"}, "s PROXYv2 127.0.0.6")
	w.hears(dialing{port: port, from: "127.0.0.6", first: v4}, "")
}
