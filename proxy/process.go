package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// stopGrace is how long an Envoy that got SIGTERM may take before SIGKILL.
const stopGrace = 5 * time.Second

// pipeDelay is how long the output of a process that is gone may take to
// arrive.
const pipeDelay = time.Second

// process is one Envoy, started here or adopted.
type process struct {
	pid    int
	epoch  int
	baseID uint32 // known once live
	admin  string // path of its admin socket
	// version and hotRestart (compatibility of hot restart) are known once
	// live.
	version, hotRestart string
	liveAt              time.Time
	adopted             bool
	handle              *os.Process
	words               *envoyLog // nil if adopted
	// done is closed when the process is gone; exit is valid then.
	done chan struct{}
	exit Exit
}

// command is what to start.
type command struct {
	path  string
	args  []string
	epoch int
	admin string
	// detached processes outlive this one.
	detached bool
	stdout   io.Writer
	log      *slog.Logger
	now      func() time.Time
}

// start runs a command and returns once it runs. ctx ends the watch over a
// detached process, not the process.
func start(ctx context.Context, c command) (*process, error) {
	p := &process{
		epoch: c.epoch, admin: c.admin, done: make(chan struct{}),
		words: &envoyLog{log: c.log.With("epoch", c.epoch)},
	}
	run := p.startChild
	if c.detached {
		run = func(c command) error { return p.startDetached(ctx, c) }
	}
	if err := run(c); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.path, err)
	}
	return p, nil
}

// writers returns where standard output and standard error of a command go.
func (p *process) writers(c command) (stdout, stderr *lineWriter) {
	stdout = &lineWriter{line: func(s string) { _, _ = io.WriteString(c.stdout, s+"\n") }}
	return stdout, &lineWriter{line: p.words.line}
}

// startChild starts a process that ends with this one. The goroutine that
// starts it keeps its OS thread until the process is gone, because the
// parent-death signal is tied to that thread.
func (p *process) startChild(c command) error {
	stdout, stderr := p.writers(c)
	cmd := exec.Command(c.path, c.args...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = pipeDelay
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid, p.handle = cmd.Process.Pid, cmd.Process
		started <- nil
		_ = cmd.Wait() // the status is read below, also when a pipe went wrong
		stdout.flush()
		stderr.flush()
		p.exit = Exit{PID: p.pid, Epoch: p.epoch, At: c.now(), Status: cmd.ProcessState.String(), Words: p.words.words()}
		close(p.done)
	}()
	return <-started
}

// running says whether the process is still there.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal is sent unless the process is gone already.
func (p *process) signal(sig os.Signal) error {
	if err := p.handle.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal envoy (pid %d) with %s: %w", p.pid, sig, err)
	}
	return nil
}

// ending says that the end of the process is wanted: it may warn of it.
func (p *process) ending(wanted bool) {
	if p.words != nil {
		p.words.ending.Store(wanted)
	}
}

// stop ends the process: SIGTERM, and SIGKILL when that is not enough. It
// returns when the process is gone.
func (p *process) stop(c Clock) error {
	if !p.running() {
		return nil
	}
	p.ending(true)
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-c.After(stopGrace):
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}
