package proxy

import (
	"net/http"
	"time"
)

const (
	// drainPoll is how often the open connections are counted.
	drainPoll = 50 * time.Millisecond
	// acceptMost is how long a draining Envoy accepts connections at most:
	// long enough for a load balancer in front to see the health check fail.
	acceptMost = 10 * time.Second
)

// drain lets the connections of a live process finish: answers tell their
// clients to close, then the listeners stop accepting, and it returns when no
// connection is left or the drain time is over. A process that cannot be asked
// is not drained; it is reported.
func (r *runner) drain(p *process) {
	if p.liveAt.IsZero() || !p.running() {
		return
	}
	r.set(PhaseDraining, func(s *State) { s.PID, s.Epoch = p.pid, p.epoch })
	r.log.Info("envoy drains", "pid", p.pid, "most", r.opt.drainTime())
	_, err := ask(p.admin, http.MethodPost, "/healthcheck/fail")
	if err == nil {
		_, err = ask(p.admin, http.MethodPost, "/drain_listeners?graceful&skip_exit")
	}
	if err == nil {
		err = r.awaitQuiet(p)
	}
	if err != nil && p.running() {
		r.log.Warn("envoy cannot be drained", "pid", p.pid, "error", err)
	}
}

// awaitQuiet stops the listeners when nobody is connected or the time to
// accept is over, and returns when nobody is connected after that, or the
// drain time is over.
func (r *runner) awaitQuiet(p *process) error {
	closing := r.clock.After(min(r.opt.drainTime()/2, acceptMost))
	deadline := r.clock.After(r.opt.drainTime())
	accepting := true
	for {
		open, err := askConnections(p.admin)
		if err != nil {
			return err
		}
		if open == 0 && !accepting {
			return nil
		}
		due := open == 0
		if !due {
			select {
			case <-p.done:
				return nil
			case <-closing:
				due = true
			case <-deadline:
				r.log.Warn("envoy ends with open connections", "pid", p.pid, "connections", open)
				return nil
			case <-r.clock.After(drainPoll):
			}
		}
		if due && accepting {
			if _, err := ask(p.admin, http.MethodPost, "/drain_listeners"); err != nil {
				return err
			}
			accepting = false
		}
	}
}

// shutdown drains and ends all processes and removes what they left.
func (r *runner) shutdown() {
	deadline := r.clock.After(r.opt.drainTime())
	if r.current != nil {
		r.drain(r.current)
	}
	if p := r.parent; p != nil {
		if r.current != nil {
			// It drains already, and current tells it to end.
			select {
			case <-p.done:
			case <-deadline:
			}
		} else {
			r.drain(p) // it was never taken over
		}
		r.discard(p)
		r.parent = nil
	}
	if r.current != nil {
		r.discard(r.current)
		r.current = nil
	}
	r.dir.sweep()
	r.s.admin.Store(nil)
	r.log.Info("envoy stopped")
	r.set(PhaseStopped, func(s *State) { s.PID = 0 })
}

// survivor returns the Envoy that an earlier Sluice left behind and that can be
// taken over. Others of the state file are ended.
func (r *runner) survivor() *process {
	records, err := r.dir.recall()
	if err != nil {
		r.log.Warn("envoy of the run before is not looked for", "error", err)
	}
	var best *process
	var rest []*process
	for _, rec := range records {
		p, err := adopt(r.life, rec, r.dir)
		if err != nil {
			r.log.Info("envoy of the run before is not taken over", "error", err)
			continue
		}
		if rec.Live && (best == nil || best.epoch < p.epoch) {
			best, p = p, best
		}
		if p != nil {
			rest = append(rest, p)
		}
	}
	r.parent = best // so that the memory it shares with the rest stays
	for _, p := range rest {
		r.discard(p)
	}
	r.parent = nil
	if best == nil {
		r.dir.sweep()
		return nil
	}
	if err := r.compatible(r.life, best); err != nil {
		r.log.Warn("envoy of the run before is ended", "pid", best.pid, "error", err)
		r.s.admin.Store(&best.admin)
		r.drain(best)
		r.discard(best)
		r.dir.sweep()
		return nil
	}
	r.log.Info("envoy of the run before is taken over", "pid", best.pid, "epoch", best.epoch, "version", best.version)
	return best
}

// remember keeps the state file true while KeepEnvoy holds.
func (r *runner) remember(next ...*process) {
	if !r.opt.KeepEnvoy {
		return
	}
	if err := r.dir.remember(append(next, r.parent, r.current)...); err != nil {
		r.log.Warn("envoy could not be taken over by the next run", "error", err)
	}
}

// running notes that current serves, after a start, a take-over or a restart
// that went wrong.
func (r *runner) running() {
	p := r.current
	r.set(PhaseRunning, func(s *State) { s.PID, s.Epoch, s.Version = p.pid, p.epoch, p.version })
}

// set enters a phase and tells everyone. RetryAt and Reason are forgotten
// unless change sets them.
func (r *runner) set(phase Phase, change func(*State)) {
	r.state.Phase, r.state.RetryAt, r.state.Reason = phase, time.Time{}, ""
	change(&r.state)
	state := r.state
	r.s.state.Store(&state)
	if r.opt.OnState != nil {
		r.opt.OnState(state)
	}
}
