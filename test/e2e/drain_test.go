package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// drained serves requests, streams of every kind and bytes, with a drain time
// that no test waits for.
type drained struct {
	*world
	more   chan struct{} // one more event of /events
	health *health.Server
	tcp    int // a port of bytes
}

func newDrained(t *testing.T, flags ...string) drained {
	t.Helper()
	d := drained{more: make(chan struct{}), tcp: freePort(t)}
	stream := streamServer(t, d.more)
	var o *origin
	d.health, o = healthServer(t)
	d.world = newWorld(t, withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"),
		"l4.yaml":      l4("", server(d.tcp, "TCP", ", hosts: ['*']")),
		"s.yaml":       reached("s", []*origin{stream}, ""),
		"h.yaml":       strings.Replace(reached("h", []*origin{o}, ""), "name: http, protocol: HTTP", "name: http, protocol: GRPC", 1),
		"tcp.yaml": streams("tcp", "*", fmt.Sprintf("  tcp:\n  - {match: [{port: %d}], route: [{destination: {host: a.internal}}]}\n", d.tcp)) +
			"---\n" + lines("a.internal", newLineServer(t, "a", nil)),
	})).run(append([]string{"--drain-time", "1h"}, flags...)...).settled()
	return d
}

// term asks for the end and returns when it is no longer ready.
func (d drained) term() {
	d.t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Fatal(err)
	}
	d.eventually("it is not ready any more, and says why", func() error {
		code, body, err := fetch("http://"+d.admin+"/readyz", "")
		if err == nil && (code != http.StatusServiceUnavailable || !strings.Contains(body, "draining")) {
			err = unexpected(code, body)
		}
		return err
	})
}

// idle opens connections that nobody has to wait for.
func (d drained) idle() {
	d.t.Helper()
	for _, first := range []string{"", "GET / HTTP/1.1\r\nHost: " + neighbourHost + "\r\n\r\n"} {
		c, err := dialing{port: d.port, first: first}.open()
		if err != nil {
			d.t.Fatal(err)
		}
		d.t.Cleanup(func() { c.Close() })
		if first == "" {
			continue
		}
		if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
			d.t.Fatal(err)
		}
	}
}

// What is under way when the end is asked for goes on for as long as it likes, and
// everything ends with it.
func TestTermWaitsForStreams(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(drained) (exchange func() error, end func()){
		"websocket": beginWebSocket, "events": beginEvents, "gRPC stream": beginWatch, "TCP": beginTCP,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDrained(t)
			d.idle()
			exchange, end := begin(d)
			if err := exchange(); err != nil {
				t.Fatal(err)
			}
			d.term()
			d.eventually("the port is closed", func() error {
				c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", d.port))
				if err != nil {
					return nil //nolint:nilerr // that is what is waited for
				}
				c.Close()
				return errNot("closed")
			})
			for n := range 15 { // longer than an Envoy without work would live
				if err := exchange(); err != nil {
					t.Fatalf("exchange %d after the end was asked for: %v", n, err)
				}
				pause(50 * time.Millisecond)
			}
			end()
			<-d.done
			if d.exit != nil {
				t.Errorf("sluice ends with %v", d.exit)
			}
		})
	}
}

func beginWebSocket(d drained) (exchange func() error, end func()) {
	const hello = "GET /ws HTTP/1.1\r\nHost: s.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	c, err := dialing{port: d.port, first: hello}.open()
	if err != nil {
		d.t.Fatal(err)
	}
	in := bufio.NewReader(c)
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		d.t.Fatalf("the upgrade is answered %v %v", resp, err)
	}
	return func() error {
		if _, err := io.WriteString(c, "frame\n"); err != nil {
			return err
		}
		got, err := in.ReadString('\n')
		if err == nil && got != "frame\n" {
			err = errNot("an echo: " + got)
		}
		return err
	}, func() { c.Close() }
}

func beginEvents(d drained) (exchange func() error, end func()) {
	ctx, cancel := context.WithCancel(d.t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url("/events"), nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Host = "s.test"
	transport := &http.Transport{}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		d.t.Fatal(err)
	}
	in := bufio.NewReader(resp.Body)
	return func() error {
			if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: ") {
				return fmt.Errorf("event %q: %w", line, err)
			}
			_, err := in.ReadString('\n')
			d.more <- struct{}{}
			return err
		}, func() {
			cancel()
			resp.Body.Close()
			transport.CloseIdleConnections()
		}
}

func beginWatch(d drained) (exchange func() error, end func()) {
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", d.port), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("h.test"))
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(d.t.Context())
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: "s"})
	if err != nil {
		d.t.Fatal(err)
	}
	next := grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN
	return func() error {
			r, err := watch.Recv()
			if err == nil && r.GetStatus() != next {
				err = fmt.Errorf("status %v, want %v", r.GetStatus(), next)
			}
			if next != grpc_health_v1.HealthCheckResponse_SERVING {
				next = grpc_health_v1.HealthCheckResponse_SERVING
			} else {
				next = grpc_health_v1.HealthCheckResponse_NOT_SERVING
			}
			d.health.SetServingStatus("s", next)
			return err
		}, func() {
			cancel()
			conn.Close()
		}
}

func beginTCP(d drained) (exchange func() error, end func()) {
	c, err := dialing{port: d.tcp}.open()
	if err != nil {
		d.t.Fatal(err)
	}
	return func() error {
		got, err := say(c, "hello")
		if err == nil && got != "a hello" {
			err = errNot("an answer: " + got)
		}
		return err
	}, func() { c.Close() }
}

// Balancers hear of the end before it begins: for the declared time all is served
// as before.
func TestTermIsAnnounced(t *testing.T) {
	t.Parallel()
	d := newDrained(t, "--drain-min", "5s")
	d.idle()
	d.term()
	client := newClient()
	defer client.CloseIdleConnections()
	for range 3 {
		if fault := post(client, d.url("/"), neighbourHost, "neighbour"); fault != "" {
			t.Errorf("a request is refused while balancers may still send some: %s", fault)
		}
	}
	if doc := d.status(); doc.Envoy.Phase != "Draining" {
		t.Errorf("envoy is %+v", doc.Envoy)
	}
	<-d.done
	if d.exit != nil {
		t.Errorf("sluice ends with %v", d.exit)
	}
}
