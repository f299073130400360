package loadtest

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// runGRPC compares unary calls: the health service, which every gRPC server
// knows.
func runGRPC(ctx context.Context, l *lab) (measures, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the gRPC server: %w", err)
	}
	server := grpc.NewServer()
	healthv1.RegisterHealthServer(server, health.NewServer())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	defer func() {
		server.Stop()
		<-served
	}()
	w := streamWorld{
		server:   "name: grpc, protocol: GRPC}\n    hosts: [\"*\"]",
		protocol: "GRPC", rules: "  http:\n  -",
		servers: &echoes{refs: []backendRef{{"e000", listener.Addr().(*net.TCPAddr).Port}}},
	}
	return l.contend(ctx, w, contest{
		config: func(port int, edge bool) (string, error) {
			in := w.static(port, edge)
			in.HTTP2 = true
			return staticConfig(in)
		},
		dial: func(address string) caller { return &rpcCaller{address: address} },
	})
}

// rpcCaller makes unary calls on one connection.
type rpcCaller struct {
	address string
	conn    *grpc.ClientConn
}

func (c *rpcCaller) call(ctx context.Context, _ int) error {
	if c.conn == nil {
		conn, err := grpc.NewClient("passthrough:///"+c.address,
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(streamHost(0)))
		if err != nil {
			return fmt.Errorf("dial %s: %w", c.address, err)
		}
		c.conn = conn
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, err := healthv1.NewHealthClient(c.conn).Check(ctx, &healthv1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	if answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		return fmt.Errorf("%w: %v", errWrongAnswer, answer.GetStatus())
	}
	return nil
}

func (c *rpcCaller) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
