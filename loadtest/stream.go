package loadtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// messageBytes is the size of a message on a stream.
const messageBytes = 1024

// streamWorld is a listener of its own beside the world: a gateway, one service
// for each server of echoes, and the rules from one to the other.
type streamWorld struct {
	port     int
	server   string // what the gateway's server says beside its number
	protocol string // of the services' port
	rules    string // the VirtualService's, with $HOST for the service's host
	servers  *echoes
}

// streamHost returns the host of the i-th service: "t00.load.test".
func streamHost(i int) string { return fmt.Sprintf("t%02d.load.test", i) }

// file returns the objects.
func (w streamWorld) file() file {
	out := fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: stream}
spec:
  servers:
  - port: {number: %d, %s
    bind: 127.0.0.1
`, w.port, w.server)
	for i, ref := range w.servers.refs {
		out += fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %[1]s}
spec:
  hosts: [%[2]s]
  resolution: STATIC
  ports: [{number: 7000, name: stream, protocol: %[3]s}]
  endpoints: [{address: 127.0.0.1, ports: {stream: %[4]d}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %[1]s}
spec:
  hosts: ["%[5]s"]
  gateways: [stream]
%[6]s
    route: [{destination: {host: %[2]s, port: {number: 7000}}}]
`, ref.name, serviceHost(ref.name), w.protocol, ref.port, streamHost(i), strings.ReplaceAll(w.rules, "$HOST", streamHost(i)))
	}
	return file{"stream.yaml", out}
}

// static returns the same for a static Envoy.
func (w streamWorld) static(port int, edge bool) staticInput {
	in := staticInput{Port: port, Edge: edge}
	for i, ref := range w.servers.refs {
		in.Services = append(in.Services, staticService{ref.name, ref.port})
		in.Hosts = append(in.Hosts, staticHost{Name: streamHost(i), Rest: ref.name})
	}
	return in
}

// contend writes the world and plays.
func (l *lab) contend(ctx context.Context, w streamWorld, c contest) (measures, error) {
	var err error
	if w.port, err = freePort(); err != nil {
		return nil, err
	}
	c.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(w.port))
	if err := l.disk.write([]file{w.file()}); err != nil {
		return nil, err
	}
	return l.play(ctx, c)
}

func runTCP(ctx context.Context, l *lab) (measures, error) {
	servers, err := startEchoes(1, func(c net.Conn, _ string) { _, _ = io.Copy(c, c) })
	if err != nil {
		return nil, err
	}
	defer servers.close()
	w := streamWorld{
		server:   "name: tcp, protocol: TCP}\n    hosts: [\"*\"]",
		protocol: "TCP", rules: "  tcp:\n  -", servers: servers,
	}
	return l.contend(ctx, w, contest{
		config: func(port int, edge bool) (string, error) {
			in := w.static(port, edge)
			in.Streams, in.Hosts = in.Hosts, nil
			return staticConfig(in)
		},
		dial: func(address string) caller { return &echoCaller{address: address} },
	})
}

func runWebSocket(ctx context.Context, l *lab) (measures, error) {
	servers, err := startEchoes(1, echoUpgraded)
	if err != nil {
		return nil, err
	}
	defer servers.close()
	w := streamWorld{
		server:   "name: http, protocol: HTTP}\n    hosts: [\"*\"]",
		protocol: "HTTP", rules: "  http:\n  -", servers: servers,
	}
	return l.contend(ctx, w, contest{
		config: func(port int, edge bool) (string, error) { return staticConfig(w.static(port, edge)) },
		dial: func(address string) caller {
			return &echoCaller{address: address, opening: "GET /chat HTTP/1.1\r\nHost: " + streamHost(0) +
				"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2x1aWNlIGxvYWR0ZXN0IQ==\r\n\r\n"}
		},
	})
}

func runPassthrough(ctx context.Context, l *lab) (measures, error) {
	servers, err := startEchoes(2, func(c net.Conn, name string) {
		if _, err := c.Read(make([]byte, 4096)); err == nil {
			_, _ = io.WriteString(c, name)
			_, _ = io.Copy(io.Discard, c)
		}
	})
	if err != nil {
		return nil, err
	}
	defer servers.close()
	var hellos [][]byte
	for i := range servers.refs {
		hello, err := clientHello(ctx, streamHost(i))
		if err != nil {
			return nil, err
		}
		hellos = append(hellos, hello)
	}
	w := streamWorld{
		server:   "name: tls, protocol: TLS}\n    tls: {mode: PASSTHROUGH}\n    hosts: [\"*\"]",
		protocol: "TLS", rules: "  tls:\n  - match: [{sniHosts: [\"$HOST\"]}]", servers: servers,
	}
	return l.contend(ctx, w, contest{
		config: func(port int, edge bool) (string, error) {
			in := w.static(port, edge)
			in.Streams, in.Hosts, in.SNI = in.Hosts, nil, true
			return staticConfig(in)
		},
		dial: func(address string) caller { return helloCaller{address, hellos, servers.refs} },
	})
}

// echoCaller sends messages on one connection and gets them back.
type echoCaller struct {
	address string
	opening string // an HTTP/1.1 request that is answered with 101; "" for none
	conn    net.Conn
	back    [messageBytes]byte
}

func (c *echoCaller) call(ctx context.Context, i int) error {
	err := c.exchange(ctx, byte(i))
	if err != nil {
		c.close()
	}
	return err
}

func (c *echoCaller) exchange(ctx context.Context, fill byte) error {
	if c.conn == nil {
		if err := c.open(ctx); err != nil {
			return err
		}
	}
	if err := c.conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	message := bytes.Repeat([]byte{fill}, messageBytes)
	if _, err := c.conn.Write(message); err != nil {
		return err
	}
	if _, err := io.ReadFull(c.conn, c.back[:]); err != nil {
		return err
	}
	if !bytes.Equal(message, c.back[:]) {
		return fmt.Errorf("%w: %s changed a message", errWrongAnswer, c.address)
	}
	return nil
}

// open dials and, with an opening, reads up to the empty line of the answer.
func (c *echoCaller) open(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: requestTimeout}).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	c.conn = conn
	if c.opening == "" {
		return nil
	}
	if err := conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, c.opening); err != nil {
		return err
	}
	head, err := readHead(conn)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
		return fmt.Errorf("%w: %s answers the upgrade with %q", errWrongAnswer, c.address, head)
	}
	return nil
}

func (c *echoCaller) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// helloCaller opens a connection for each call, says a ClientHello, and expects
// the name of the server that it names.
type helloCaller struct {
	address string
	hellos  [][]byte
	refs    []backendRef
}

func (c helloCaller) call(ctx context.Context, i int) error {
	n := i % len(c.hellos)
	conn, err := (&net.Dialer{Timeout: requestTimeout}).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	// A reset leaves no port behind that waits for stragglers.
	defer func() { _, _ = conn.(*net.TCPConn).SetLinger(0), conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(c.hellos[n]); err != nil {
		return err
	}
	name := make([]byte, len(c.refs[n].name))
	if _, err := io.ReadFull(conn, name); err != nil {
		return err
	}
	if string(name) != c.refs[n].name {
		return fmt.Errorf("%w: %q, want %s", errWrongAnswer, name, c.refs[n].name)
	}
	return nil
}

func (helloCaller) close() {}

// clientHello returns the first record of a TLS client: five bytes that end in
// the length of what follows (RFC 8446 section 5.1).
func clientHello(ctx context.Context, name string) ([]byte, error) {
	ours, theirs := net.Pipe()
	client := tls.Client(theirs, &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = client.HandshakeContext(ctx) // nobody answers
	}()
	defer func() {
		_ = ours.Close()
		<-done
	}()
	record := make([]byte, 5)
	if _, err := io.ReadFull(ours, record); err != nil {
		return nil, fmt.Errorf("make a ClientHello: %w", err)
	}
	body := make([]byte, binary.BigEndian.Uint16(record[3:]))
	if _, err := io.ReadFull(ours, body); err != nil {
		return nil, fmt.Errorf("make a ClientHello: %w", err)
	}
	return append(record, body...), nil
}
