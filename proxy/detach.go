package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// shell starts a detached process. Envoy asks the kernel for SIGTERM when its
// parent dies (its hot restart code does so, whoever starts it), so an Envoy
// that is to outlive Sluice must never have been its child: the shell leaves a
// child behind, says its number on descriptor 4 and ends; the child waits for a
// line on descriptor 3, which comes when the shell is gone and init is its
// parent, and becomes Envoy. Without that line it ends.
const shell = `{ read -r go <&3 && exec "$@" 3<&-; } 4>&- & echo $! >&4`

// unknownStatus is the status of a process that is no child of this one.
const unknownStatus = "an unknown status (it was no child of Sluice)"

// watchPoll is how often a process that is no child is looked at.
const watchPoll = 50 * time.Millisecond

// startDetached starts a process in a session of its own that has init for a
// parent. How it ends is not known, only when.
func (p *process) startDetached(ctx context.Context, c command) error {
	if _, err := exec.LookPath(c.path); err != nil {
		return err // the shell would say it only to the log
	}
	pipes, err := openPipes()
	if err != nil {
		return err
	}
	defer pipes.closeAll()
	cmd := exec.Command("/bin/sh", append([]string{"-c", shell, "sh", c.path}, c.args...)...)
	cmd.Stdout, cmd.Stderr = pipes.stdout[1], pipes.stderr[1]
	cmd.ExtraFiles = []*os.File{pipes.gate[0], pipes.number[1]}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	_ = pipes.number[1].Close()
	said, err := io.ReadAll(pipes.number[0])
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(said)))
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	begun, _ := startTime(pid)
	if err := p.attach(pid, begun); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	if _, err := pipes.gate[1].WriteString("go\n"); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	outputs := p.copyOutput(c, pipes)
	go p.watch(ctx, watched{command: c, start: begun, outputs: outputs})
	return nil
}

// attach takes a running process that started at a given time.
func (p *process) attach(pid int, begun uint64) error {
	handle, err := os.FindProcess(pid)
	if err != nil {
		return fmt.Errorf("find envoy (pid %d): %w", pid, err)
	}
	// The handle stays with its process; it is the right one if the start
	// time is right after it was taken.
	if now, ok := startTime(pid); !ok || now != begun {
		return fmt.Errorf("envoy (pid %d) is gone", pid)
	}
	p.pid, p.handle = pid, handle
	return nil
}

// watched is what the watch over a detached process needs.
type watched struct {
	command
	start   uint64
	outputs *outputs
}

// watch closes done when a detached process is gone.
func (p *process) watch(ctx context.Context, w watched) {
	ended := gone(ctx, p.pid, w.start)
	w.outputs.wait()
	if ended {
		p.exit = Exit{PID: p.pid, Epoch: p.epoch, At: w.now(), Status: unknownStatus, Words: p.words.words()}
		close(p.done)
	}
}

// gone returns true when a process is gone, false when ctx ends before.
func gone(ctx context.Context, pid int, begun uint64) bool {
	tick := time.NewTicker(watchPoll)
	defer tick.Stop()
	for {
		if now, ok := startTime(pid); !ok || now != begun {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

// pipes connect this process with a detached one; [0] is read, [1] written.
type pipes struct{ stdout, stderr, gate, number [2]*os.File }

func openPipes() (*pipes, error) {
	var p pipes
	for _, pair := range p.all() {
		r, w, err := os.Pipe()
		if err != nil {
			p.closeAll()
			return nil, fmt.Errorf("open pipe: %w", err)
		}
		pair[0], pair[1] = r, w
	}
	return &p, nil
}

func (p *pipes) all() []*[2]*os.File {
	return []*[2]*os.File{&p.stdout, &p.stderr, &p.gate, &p.number}
}

// closeAll closes what is still open.
func (p *pipes) closeAll() {
	for _, pair := range p.all() {
		for _, f := range pair {
			if f != nil {
				_ = f.Close()
			}
		}
	}
}

// outputs are the ends of a process's output that are read here.
type outputs struct {
	files  []*os.File
	copied sync.WaitGroup
}

// copyOutput passes on what the process writes, until it is gone.
func (p *process) copyOutput(c command, from *pipes) *outputs {
	stdout, stderr := p.writers(c)
	o := &outputs{files: []*os.File{from.stdout[0], from.stderr[0]}}
	from.stdout[0], from.stderr[0] = nil, nil // ours to close now
	for i, to := range []*lineWriter{stdout, stderr} {
		o.copied.Go(func() {
			_, _ = io.Copy(to, o.files[i])
			to.flush()
		})
	}
	return o
}

// wait returns when all output of a process that is gone was passed on.
func (o *outputs) wait() {
	limit := time.Now().Add(pipeDelay)
	for _, f := range o.files {
		if err := f.SetReadDeadline(limit); err != nil && !errors.Is(err, os.ErrNoDeadline) {
			_ = f.Close()
		}
	}
	o.copied.Wait()
	for _, f := range o.files {
		_ = f.Close()
	}
}
