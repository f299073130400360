package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
)

// serveLines answers on every connection until the listener closes: each line
// comes back behind the server's name. When the client has said its last, the
// connection ends.
func serveLines(listener net.Listener, name string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			for in := bufio.NewScanner(conn); in.Scan(); {
				if _, err := fmt.Fprintf(conn, "%s %s\n", name, in.Text()); err != nil {
					return
				}
			}
		}()
	}
}

// dial sends the standard input to address and prints what comes back.
func dial(ctx context.Context, address string, out io.Writer) error {
	return dialFrom(ctx, address, os.Stdin, out)
}

// dialFrom sends all of in to address, says that this was all, and copies to
// out until the other side ends the connection.
func dialFrom(ctx context.Context, address string, in io.Reader, out io.Writer) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if _, err := io.Copy(conn, in); err != nil {
		return fmt.Errorf("send to %s: %w", address, err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return fmt.Errorf("send to %s: %w", address, err)
	}
	if _, err := io.Copy(out, conn); err != nil {
		return fmt.Errorf("read from %s: %w", address, err)
	}
	return nil
}
