// Command backends is a handful of demo HTTP servers that name themselves, so
// that whoever tries a gateway sees where a request ended up.
//
// What goes in: names with addresses, and optionally a command to run in front
// of them. What comes out: servers that answer JSON until the command ends or a
// signal arrives; the exit code is the command's. It alone decides what a demo
// answer looks like.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const usage = `backends: demo HTTP servers that name themselves

  backends --listen shop=127.0.0.1:9001 --listen admin=127.0.0.1:9003
  backends --listen shop=127.0.0.1:9001 -- sluice run DIR

Every server answers with JSON: its name and the request as it arrived.
/status/CODE answers with that code, /slow?d=2s after a while, /echo sends the
request's body back and, asked for a WebSocket, every message.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the flags of the command.
type options struct {
	listen  []listen
	ready   string   // URL to wait for before printing
	print   string   // file to print once ready answers 200
	command []string // what to run in front of the servers
}

// listen is one server: "name=host:port".
type listen struct{ name, address string }

// parse reads the arguments behind the program's name. Everything after "--"
// is the command.
func parse(args []string, out io.Writer) (options, error) {
	var o options
	set := flag.NewFlagSet("backends", flag.ContinueOnError)
	set.SetOutput(out)
	set.Usage = func() {
		_, _ = io.WriteString(out, usage)
		set.PrintDefaults()
	}
	set.Func("listen", "`name=host:port` of a server; may be repeated", func(s string) error {
		name, address, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return fmt.Errorf("%q is not name=host:port", s)
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return err
		}
		o.listen = append(o.listen, listen{name, address})
		return nil
	})
	set.StringVar(&o.ready, "ready", "", "`URL` that answers 200 once the command is ready")
	set.StringVar(&o.print, "print", "", "`file` to print once the command is ready")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	o.command = set.Args()
	if len(o.listen) == 0 {
		return o, errors.New("no --listen name=host:port given")
	}
	return o, nil
}

// run serves until ctx ends or the command does, and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "backends:", err)
		return 2
	}
	servers, err := serve(o.listen)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "backends:", err)
		return 1
	}
	defer closeAll(servers)
	for _, l := range o.listen {
		_, _ = fmt.Fprintf(stdout, "backend %s listens on http://%s\n", l.name, l.address)
	}
	if len(o.command) == 0 {
		<-ctx.Done()
		return 0
	}
	code, err := runCommand(ctx, o, stdout, stderr)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "backends:", err)
	}
	return code
}

// serve starts a server for each entry. Nothing listens after an error.
func serve(entries []listen) ([]*http.Server, error) {
	var servers []*http.Server
	for _, l := range entries {
		listener, err := net.Listen("tcp", l.address)
		if err != nil {
			closeAll(servers)
			return nil, fmt.Errorf("start backend %s: %w", l.name, err)
		}
		server := &http.Server{
			Handler:           backend{name: l.name}.routes(),
			ReadHeaderTimeout: 10 * time.Second,
			Protocols:         plainProtocols(),
		}
		servers = append(servers, server)
		go func() { _ = server.Serve(listener) }()
	}
	return servers, nil
}

// plainProtocols allows HTTP/1.1 and HTTP/2 without TLS.
func plainProtocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

func closeAll(servers []*http.Server) {
	for _, s := range servers {
		_ = s.Close()
	}
}
