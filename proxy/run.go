package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// livePoll is how often a starting Envoy is asked whether it serves.
	livePoll = 20 * time.Millisecond
	// parentMargin is how much longer than the drain time the epoch before
	// lives: in it every answer still tells its client to close.
	parentMargin = 2 * time.Second
	// adoptTries is how often taking over a survivor may go wrong before it
	// is ended instead.
	adoptTries = 3
)

// runner is one Run: the processes and what is known of them. Only the
// goroutine of Run touches it.
type runner struct {
	s      *Supervisor
	dir    *dataDir
	life   context.Context // ends after all processes
	opt    Options         // Binary and Settings change with hot restarts
	log    *slog.Logger
	clock  Clock
	stdout *sharedWriter
	// current serves or starts. parent is the epoch before: it serves while
	// current starts, and drains afterwards.
	current, parent *process
	back            backoff
	lived           time.Duration // how long the last one served
	tries           int           // failed take-overs of parent
	state           State
}

// loop brings an Envoy up, serves, and begins again after a crash, until ctx
// ends and all processes with it.
func (r *runner) loop(ctx context.Context) error {
	for {
		if r.parent != nil && r.tries >= adoptTries {
			r.log.Warn("envoy cannot be taken over, it is ended", "pid", r.parent.pid)
			r.drain(r.parent)
			r.discard(r.parent)
			r.parent = nil
		}
		err := r.bringUp(ctx)
		if err == nil {
			err = r.serve(ctx)
		}
		if ctx.Err() == nil {
			r.backOff(ctx, err)
		}
		if ctx.Err() != nil {
			r.shutdown()
			return nil
		}
		r.state.Restarts++
	}
}

// bringUp starts the next process and waits until it serves: epoch 0, or the
// epoch after parent, which is gone then as well. When it goes wrong only
// parent is left.
func (r *runner) bringUp(ctx context.Context) error {
	if r.parent != nil && !r.parent.running() {
		r.discard(r.parent)
		r.parent = nil
	}
	p, err := r.launch()
	if err != nil {
		return err
	}
	r.current = p
	phase := PhaseStarting
	if r.parent != nil {
		phase = PhaseRestarting
	}
	r.set(phase, func(s *State) { s.PID, s.Epoch, s.Adopted = p.pid, p.epoch, r.parent != nil && r.parent.adopted })
	if err := r.awaitLive(ctx); err != nil {
		r.discard(p)
		r.current = nil
		r.tries++
		if r.parent != nil {
			r.parent.ending(false)
		}
		return err
	}
	r.log.Info("envoy is live", "pid", p.pid, "epoch", p.epoch, "version", p.version)
	r.widen(p)
	r.tries = 0
	r.remember()
	if r.parent != nil {
		r.retire(ctx)
		r.state.HotRestarts++
	}
	return nil
}

// launch writes the bootstrap of the next epoch and starts its process.
func (r *runner) launch() (*process, error) {
	epoch := 0
	if r.parent != nil {
		epoch = r.parent.epoch + 1
	}
	if err := r.writeBootstrap(epoch); err != nil {
		return nil, err
	}
	if epoch == 0 {
		r.dir.forgetBaseID()
	}
	p, err := start(r.life, command{
		path: r.opt.Path, args: r.args(epoch), epoch: epoch, admin: r.dir.adminSocket(epoch),
		detached: r.opt.KeepEnvoy, stdout: r.stdout, log: r.log, now: r.clock.Now,
	})
	if err != nil {
		return nil, err
	}
	if r.parent != nil {
		p.baseID = r.parent.baseID
		r.parent.ending(true)
	}
	r.s.admin.Store(&p.admin)
	r.remember(p) // before it can have taken over
	r.log.Info("envoy starts", "pid", p.pid, "epoch", epoch, "path", r.opt.Path)
	return p, nil
}

// writeBootstrap writes what an epoch starts with. Each epoch has its own file
// and admin socket: two of them run during a hot restart.
func (r *runner) writeBootstrap(epoch int) error {
	xds, err := filepath.Abs(r.opt.XDSSocket)
	if err != nil {
		return fmt.Errorf("resolve xds socket %s: %w", r.opt.XDSSocket, err)
	}
	content, err := bootstrapJSON(Bootstrap(BootstrapInput{
		NodeID: r.opt.NodeID, Cluster: r.opt.Cluster, XDSSocket: xds,
		AdminSocket: r.dir.adminSocket(epoch), DrainFile: r.dir.drainFile(epoch), Settings: r.opt.Settings, Locality: r.opt.Locality,
	}))
	if err != nil {
		return err
	}
	if err := r.dir.write(r.dir.drainFile(epoch), []byte("0")); err != nil {
		return err
	}
	return r.dir.write(r.dir.bootstrap(epoch), content)
}

// args are Envoy's flags. The drain strategy is immediate: every answer of the
// whole drain time tells its client to close. The gradual one says so with a
// probability that grows from 0, which spreads reconnects in large fleets but
// cuts off clients that send one request now and then; on one machine the
// drain time is short and that matters more.
//
// The sockets of hot restart are in the data directory (owner only) because
// Envoy's default, abstract sockets, is open to every user of the machine.
func (r *runner) args(epoch int) []string {
	drain := seconds(r.opt.drainTime())
	args := []string{
		"-c", r.dir.bootstrap(epoch),
		"--log-level", "info", "--log-format", logFormat, "--log-format-escaped",
		"--drain-strategy", "immediate",
		"--drain-time-s", strconv.Itoa(drain),
		"--parent-shutdown-time-s", strconv.Itoa(drain + int(parentMargin/time.Second)),
		"--socket-path", r.dir.file("hot"), "--socket-mode", "600",
	}
	if r.opt.Concurrency > 0 {
		args = append(args, "--concurrency", strconv.Itoa(r.opt.Concurrency))
	}
	if r.parent == nil {
		return append(args, "--use-dynamic-base-id", "--base-id-path", r.dir.file("base-id"))
	}
	return append(args,
		"--restart-epoch", strconv.Itoa(epoch),
		"--base-id", strconv.FormatUint(uint64(r.parent.baseID), 10),
		"--skip-hot-restart-on-no-parent")
}

// awaitLive waits until current serves. If ctx ends while it takes over from
// parent, it still gets the drain time: parent has no admin interface any more
// and could not be drained.
func (r *runner) awaitLive(ctx context.Context) error {
	var parentGone <-chan struct{}
	if r.parent != nil {
		parentGone = r.parent.done
	}
	var deadline <-chan time.Time
	stop := ctx.Done()
	for {
		live, err := r.checkLive()
		if live || err != nil {
			return err
		}
		select {
		case <-r.current.done:
			return &r.current.exit
		case <-parentGone:
			return fmt.Errorf("hot restart: the epoch before: %w", &r.parent.exit)
		case <-stop:
			if r.parent == nil {
				return ctx.Err()
			}
			stop, deadline = nil, r.clock.After(r.opt.drainTime())
		case <-deadline:
			return ctx.Err()
		case <-r.clock.After(livePoll):
		}
	}
}

// checkLive asks current whether it serves, and notes what it says of itself.
func (r *runner) checkLive() (bool, error) {
	p := r.current
	info, err := askServerInfo(p.admin)
	if err != nil || info.State != "LIVE" {
		return false, nil // not yet; its end is seen elsewhere
	}
	if p.epoch == 0 {
		if p.baseID, err = r.dir.readBaseID(); err != nil {
			return false, err
		}
	}
	p.version, p.hotRestart, p.liveAt = info.Version, info.HotRestart, r.clock.Now()
	return true, nil
}

// retire waits until parent is gone, which current brings about, and helps
// when it does not. When ctx ends, parent is left to shutdown.
func (r *runner) retire(ctx context.Context) {
	p := r.parent
	select {
	case <-p.done:
	case <-r.current.done: // nobody is left to end it
	case <-ctx.Done():
		return
	case <-r.clock.After(r.opt.drainTime() + parentMargin + stopGrace):
		r.log.Warn("envoy of the epoch before does not end", "pid", p.pid, "epoch", p.epoch)
	}
	r.discard(p)
	r.parent = nil
	r.remember()
}

// serve returns nil when ctx ends, or how current ended.
func (r *runner) serve(ctx context.Context) error {
	for {
		r.running()
		select {
		case <-ctx.Done():
			return nil
		case <-r.current.done:
			p := r.current
			r.current = nil
			r.lived = r.clock.Now().Sub(p.liveAt)
			r.discard(p)
			return &p.exit
		case req := <-r.s.requests:
			err := r.hotRestart(ctx, req.change)
			req.done <- err
			if r.current == nil {
				return err // the old one ended and no new one came up
			}
		}
	}
}

// hotRestart makes current the parent of a new epoch. After an error the old
// one serves on, unless it is what ended.
func (r *runner) hotRestart(ctx context.Context, c Change) error {
	before := r.opt
	if err := r.tryOut(ctx, c); err != nil {
		r.opt = before
		return fmt.Errorf("hot restart: %w", err)
	}
	r.parent, r.current = r.current, nil
	if err := r.bringUp(ctx); err != nil {
		r.opt, r.tries = before, 0
		r.current, r.parent = r.parent, nil
		if r.current != nil {
			r.s.admin.Store(&r.current.admin)
		}
		return fmt.Errorf("hot restart: %w", err)
	}
	return nil
}

// tryOut takes over a change and lets the new binary read the new bootstrap.
func (r *runner) tryOut(ctx context.Context, c Change) error {
	path := r.opt.Path
	if c.Binary != "" {
		path = c.Binary
	}
	var err error
	if r.opt.Binary, err = Probe(ctx, path); err != nil {
		return err
	}
	if c.Settings != nil {
		r.opt.Settings = *c.Settings
	}
	if err := r.compatible(ctx, r.current); err != nil {
		return err
	}
	next := r.current.epoch + 1
	if err := r.writeBootstrap(next); err != nil {
		return err
	}
	if _, err := output(ctx, r.opt.Path, "--mode", "validate", "--log-level", "error", "-c", r.dir.bootstrap(next)); err != nil {
		return fmt.Errorf("validate %s: %w", r.dir.bootstrap(next), err)
	}
	return nil
}

// compatible says whether the binary can take over from p.
func (r *runner) compatible(ctx context.Context, p *process) error {
	out, err := output(ctx, r.opt.Path, "--hot-restart-version")
	if err != nil {
		return fmt.Errorf("ask %s for its hot restart version: %w", r.opt.Path, err)
	}
	if v := firstLine(out); v != p.hotRestart {
		return fmt.Errorf("envoy %s (hot restart version %s) cannot take over from %s (%s); stop Sluice and start it again", r.opt.Version, v, p.version, p.hotRestart)
	}
	return nil
}

// discard ends a process if it still runs and removes what it left.
func (r *runner) discard(p *process) {
	if err := p.stop(r.clock); err != nil {
		r.log.Error("envoy cannot be ended", "error", err)
		return
	}
	last := true
	for _, other := range []*process{r.current, r.parent} {
		if other != nil && other != p && other.running() {
			last = false
		}
	}
	if last && p.baseID == 0 {
		p.baseID, _ = r.dir.readBaseID() // it chose one but was never live
	}
	r.dir.forget(p, last)
}

// backOff reports how Envoy ended and waits for the next start, or for ctx.
func (r *runner) backOff(ctx context.Context, why error) {
	var exit *Exit
	if errors.As(why, &exit) {
		exit.Version = r.state.Version
		r.state.LastExit = exit
	}
	wait := r.back.after(r.lived)
	r.lived = 0
	r.s.admin.Store(nil)
	r.set(PhaseBackingOff, func(s *State) {
		s.PID, s.RetryAt, s.Reason = 0, r.clock.Now().Add(wait), why.Error()
	})
	r.log.Warn("envoy is started again", "after", wait, "error", why)
	select {
	case <-ctx.Done():
	case <-r.clock.After(wait):
	}
}
