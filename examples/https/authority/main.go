// Command authority runs an ACME authority on this machine, as a public one would
// be, for whoever tries automatic certificates: pebble of Let's Encrypt, and a name
// server for which every host is this machine.
//
// What goes in is a configuration of pebble and a folder. What comes out, in the
// folder, are the certificate of the authority's directory and the root above what
// it signs. It alone decides how the directory proves who it is: with a key that it
// makes anew each time and that nobody else gets.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

const usage = `authority: an ACME authority on this machine, to try automatic certificates with

  authority --config examples/https/pebble.json --dir /tmp/shop-authority

The folder gets directory.pem, by which clients know the authority, and root.pem,
by which they know what it signs.

`

// Files in the folder.
const (
	directoryFile = "directory.pem"
	keyFile       = "directory.key"
	rootFile      = "root.pem"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// streams are where words go.
type streams struct{ out, err io.Writer }

// options are the flags of the command.
type options struct {
	config, dir string // absolute
	// listen and management are addresses of pebble, from its configuration.
	listen, management string
}

// parse reads the arguments behind the program's name, and the configuration.
func parse(args []string, errs io.Writer) (options, error) {
	var o options
	set := flag.NewFlagSet("authority", flag.ContinueOnError)
	set.SetOutput(errs)
	set.Usage = func() {
		_, _ = io.WriteString(errs, usage)
		set.PrintDefaults()
	}
	set.StringVar(&o.config, "config", "", "`file` with pebble's configuration")
	set.StringVar(&o.dir, "dir", "", "`folder` for what clients need")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	if o.config == "" || o.dir == "" || set.NArg() > 0 {
		return o, errors.New("give --config FILE and --dir FOLDER, and nothing else")
	}
	for _, path := range []*string{&o.config, &o.dir} {
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return o, err
		}
	}
	return o, o.read()
}

// read takes the addresses from the configuration.
func (o *options) read() error {
	text, err := os.ReadFile(o.config)
	if err != nil {
		return fmt.Errorf("read pebble's configuration: %w", err)
	}
	var config struct {
		Pebble struct{ ListenAddress, ManagementListenAddress string }
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("read pebble's configuration %s: %w", o.config, err)
	}
	o.listen, o.management = config.Pebble.ListenAddress, config.Pebble.ManagementListenAddress
	if o.listen == "" || o.management == "" {
		return fmt.Errorf("read pebble's configuration %s: listenAddress or managementListenAddress is missing", o.config)
	}
	return nil
}

// run serves until ctx ends or a program does, and returns the exit code.
func run(ctx context.Context, args []string, to streams) int {
	o, err := parse(args, to.err)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		_, _ = fmt.Fprintln(to.err, "authority:", err)
		return 2
	}
	if err := serve(ctx, o, to); err != nil && ctx.Err() == nil {
		_, _ = fmt.Fprintln(to.err, "authority:", err)
		return 1
	}
	return 0
}

// serve runs both programs until ctx ends, or one of them does, which is an error.
func serve(ctx context.Context, o options, to streams) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	identity, err := newIdentity(o.dir)
	if err != nil {
		return err
	}
	names, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	ended := make(chan ending, 2)
	running := 0
	defer func() {
		cancel()
		for range running {
			<-ended
		}
	}()
	for _, p := range []program{nameServer(names), pebble(o, names, to)} {
		if err := p.start(ctx, ended); err != nil {
			return err
		}
		running++
	}
	ready := make(chan error, 1)
	go func() { ready <- identity.await(ctx, o) }()
	for {
		select {
		case e := <-ended:
			running--
			return e.why
		case err := <-ready:
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintf(to.out, "authority: ready at https://%s/dir\n", o.listen)
			ready = nil
		}
	}
}
