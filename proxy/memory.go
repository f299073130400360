package proxy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sluicegw/sluice/proxy/hugepage"
)

const (
	// memoryPoll is how often the size of an Envoy is looked at once it is live,
	// memoryGrown by how many bytes it has to have grown before its memory is worth
	// another look, and memoryStill by how many it may grow from one look to the
	// next: who is busy growing is left alone.
	memoryPoll  = time.Second
	memoryGrown = 4 << 20
	memoryStill = 1 << 20
)

// widen keeps the memory of p in huge pages for as long as p lives, where the kernel
// gives them to those who ask.
func (r *runner) widen(p *process) {
	if !r.opt.HugePages || !hugepage.Asked() {
		return
	}
	ctx, cancel := context.WithCancel(r.life)
	go func() {
		defer cancel()
		select {
		case <-p.done:
		case <-ctx.Done():
		}
	}()
	go func() {
		defer cancel()
		memory := hugepage.MemoryOf(p.pid)
		for size, last := int64(0), int64(0); ctx.Err() == nil; {
			now, err := resident(p.pid)
			if err == nil && (size == 0 || now >= size+memoryGrown && now < last+memoryStill) {
				if !r.collapse(ctx, p, memory) {
					return
				}
				size, _ = resident(p.pid)
			}
			last = now
			select {
			case <-ctx.Done():
			case <-r.clock.After(memoryPoll):
			}
		}
	}()
}

// collapse puts the memory of p into huge pages, and reports whether that may be
// tried again.
func (r *runner) collapse(ctx context.Context, p *process, memory *hugepage.Memory) bool {
	err := memory.Collapse(ctx)
	switch {
	case ctx.Err() != nil:
		return false
	case errors.Is(err, hugepage.ErrUnavailable):
		r.log.Info("envoy works with small pages", "pid", p.pid, "why", err)
		return false
	case err != nil:
		r.log.Warn("envoy works with small pages", "pid", p.pid, "why", err)
		return false
	}
	n, err := hugepage.InUse(p.pid)
	r.log.Debug("envoy works with huge pages", "pid", p.pid, "megabytes", n>>20)
	return err == nil
}

// resident returns the bytes of a process that are in memory.
//
// Source: proc_pid_statm(5): "size resident …" in pages.
func resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("statm of process %d is %q", pid, text)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
