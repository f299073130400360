// Command backends is a handful of demo servers, HTTP and plain TCP, that name
// themselves, so that whoever tries a gateway sees where a request ended up.
//
// What goes in: names with addresses, and optionally a command to run in front
// of them. What comes out: servers that answer until the command ends or a
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

const usage = `backends: demo servers that name themselves

  backends --listen shop=127.0.0.1:9001 --listen admin=127.0.0.1:9003
  backends --listen shop=127.0.0.1:9001 -- sluice run DIR
  backends --listen-tcp ledger=127.0.0.1:9101
  echo hello | backends --dial 127.0.0.1:9101

An HTTP server answers with JSON: its name and the request as it arrived.
/status/CODE answers with that code, /slow?d=2s after a while, /echo sends the
request's body back and, asked for a WebSocket, every message; /count tells how
many other requests came so far. One that fails answers 503 to all of them. A
TCP server sends every line back behind its name.

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
	dial    string   // send the standard input here and do nothing else
	ready   string   // URL to wait for before printing
	print   string   // file to print once ready answers 200
	command []string // what to run in front of the servers
}

// listen is one server: "name=host:port".
type listen struct {
	name, address string
	tcp           bool // lines instead of HTTP
	failing       bool // answers nothing but 503
}

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
	for flag, l := range map[string]listen{"listen": {}, "listen-failing": {failing: true}, "listen-tcp": {tcp: true}} {
		set.Func(flag, flagUsage(l), func(s string) error { return o.add(l, s) })
	}
	set.StringVar(&o.dial, "dial", "", "send the standard input to `host:port` and print what comes back")
	set.StringVar(&o.ready, "ready", "", "`URL` that answers 200 once the command is ready")
	set.StringVar(&o.print, "print", "", "`file` to print once the command is ready")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	o.command = set.Args()
	if len(o.listen) == 0 && o.dial == "" {
		return o, errors.New("no --listen name=host:port given")
	}
	return o, nil
}

func flagUsage(l listen) string {
	switch {
	case l.tcp:
		return "`name=host:port` of a TCP server; may be repeated"
	case l.failing:
		return "`name=host:port` of a server that fails; may be repeated"
	}
	return "`name=host:port` of a server; may be repeated"
}

// add adds a server of the kind of l at "name=host:port".
func (o *options) add(l listen, s string) error {
	name, address, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return fmt.Errorf("%q is not name=host:port", s)
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return err
	}
	l.name, l.address = name, address
	o.listen = append(o.listen, l)
	return nil
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
	if o.dial != "" {
		if err := dial(ctx, o.dial, stdout); err != nil {
			_, _ = fmt.Fprintln(stderr, "backends:", err)
			return 1
		}
		return 0
	}
	servers, err := serve(o.listen)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "backends:", err)
		return 1
	}
	defer closeAll(servers)
	for _, l := range o.listen {
		scheme := "http"
		if l.tcp {
			scheme = "tcp"
		}
		_, _ = fmt.Fprintf(stdout, "backend %s listens on %s://%s\n", l.name, scheme, l.address)
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
func serve(entries []listen) ([]io.Closer, error) {
	var servers []io.Closer
	for _, l := range entries {
		listener, err := net.Listen("tcp", l.address)
		if err != nil {
			closeAll(servers)
			return nil, fmt.Errorf("start backend %s: %w", l.name, err)
		}
		if l.tcp {
			servers = append(servers, listener)
			go serveLines(listener, l.name)
			continue
		}
		server := &http.Server{
			Handler:           newBackend(l.name, l.failing).routes(),
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

func closeAll(servers []io.Closer) {
	for _, s := range servers {
		_ = s.Close()
	}
}
