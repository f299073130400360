package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// installed is where `make tools` of a checkout puts programs.
const installed = ".tools/bin"

// program is a command that runs in a folder until it is told to end.
type program struct {
	name, dir string
	args, env []string
	output    io.Writer // nil discards it
}

// ending is the end of a program.
type ending struct{ why error }

// nameServer answers at an address that every host is this machine.
func nameServer(address string) program {
	// It can do more than that, which the empty flags turn off.
	return program{name: "pebble-challtestsrv", args: []string{
		"-dnsserver", address, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "",
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-management", "127.0.0.1:0",
	}}
}

// pebble is the authority, which asks a name server.
func pebble(o options, names string, to streams) program {
	return program{
		name: "pebble", dir: o.dir, args: []string{"-config", o.config, "-dnsserver", names},
		env:    []string{"PEBBLE_VA_NOSLEEP=1"}, // it would wait to look like a busy one
		output: to.out,
	}
}

// find looks for a program in the checkout, then on $PATH.
func find(name string) (string, error) {
	if path, err := filepath.Abs(filepath.Join(installed, name)); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("there is no %s in %s; run `make tools`, and this in the checkout's folder: %w", name, installed, err)
	}
	return path, nil
}

// start starts the program, which ends with ctx or with this process, and tells
// ended once it has.
func (p program) start(ctx context.Context, ended chan<- ending) error {
	path, err := find(p.name)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, p.args...) //nolint:gosec // a program of our own choice
	cmd.Dir, cmd.Env = p.dir, append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = p.output, p.output
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	// A Ctrl-C reaches it once, from here.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		// The parent-death signal belongs to the thread that starts the command.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		if err = cmd.Wait(); err == nil {
			err = errors.New("exit status 0")
		}
		ended <- ending{fmt.Errorf("%s has ended: %w", p.name, err)}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	return nil
}

// freeAddress returns one that nobody listens on, over UDP and TCP.
func freeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	const tries = 20
	for range tries {
		packets, err := config.ListenPacket(ctx, "udp", "127.0.0.1:0")
		if err != nil {
			return "", fmt.Errorf("find a port for the name server: %w", err)
		}
		address := packets.LocalAddr().String()
		listener, err := config.Listen(ctx, "tcp", address)
		_ = packets.Close()
		if err == nil {
			return address, listener.Close()
		}
	}
	return "", errors.New("no port is free for the name server")
}
