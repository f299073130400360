package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// runCommand runs the command of o until it ends and returns its exit code. The
// command gets a process group of its own: a Ctrl-C reaches it once, from here,
// as SIGTERM. It also gets SIGTERM if this process dies.
func runCommand(ctx context.Context, o options, stdout, stderr io.Writer) (int, error) {
	// The parent-death signal belongs to the thread that starts the command.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := exec.CommandContext(ctx, o.command[0], o.command[1:]...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start %s: %w", o.command[0], err)
	}
	announced := make(chan struct{})
	waiting, stop := context.WithCancel(ctx)
	go func() {
		defer close(announced)
		if err := announce(waiting, o, stdout); err != nil {
			_, _ = fmt.Fprintln(stderr, "backends:", err)
		}
	}()
	err := cmd.Wait()
	stop()
	<-announced
	return exitCode(cmd, err)
}

// exitCode is the code to end with: the command's, 128+n after signal n, and 0
// when it ended well on our own signal.
func exitCode(cmd *exec.Cmd, err error) (int, error) {
	if cmd.ProcessState == nil {
		return 1, err
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// announce prints o.print once o.ready answers 200. It returns nil when ctx
// ends before that.
func announce(ctx context.Context, o options, stdout io.Writer) error {
	if o.ready == "" || o.print == "" {
		return nil
	}
	text, err := os.ReadFile(o.print)
	if err != nil {
		return fmt.Errorf("read what to print: %w", err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !answers(ctx, o.ready) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	if _, err := stdout.Write(text); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("print %s: %w", o.print, err)
	}
	return nil
}

// answers reports whether a GET of url is answered 200.
func answers(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
