package proxy

import (
	"net/http"
	"time"
)

const (
	// drainPoll is how often the work of a draining Envoy is looked at.
	drainPoll = 50 * time.Millisecond
	// tellTime is how long a draining Envoy goes on accepting while it tells its
	// clients to leave: those that use their connection with the next answer, idle
	// ones when their timer ends, which is idleShortest then, after the overload
	// manager has seen that Envoy drains.
	tellTime = idleShortest + overloadRefresh + 250*time.Millisecond
	// settleTime is how long nothing may have happened before Envoy ends: a
	// connection may have been accepted at the last moment.
	settleTime = 250 * time.Millisecond
	// mergeTime is how old the stats of an epoch before may be, which the epoch
	// that took over shows among its own: it fetches them every five seconds.
	mergeTime = 5 * time.Second
)

// drain lets a live process finish its work: clients are told to leave, then the
// listeners close, and it returns when no request, upgrade or stream of bytes is
// left, or the drain time is over. Connections that are idle or never spoke are not
// waited for. A process that cannot be asked is not drained; it is reported.
func (r *runner) drain(p *process) {
	if p.liveAt.IsZero() || !p.running() {
		return
	}
	r.set(PhaseDraining, func(s *State) { s.PID, s.Epoch = p.pid, p.epoch })
	r.log.Info("envoy drains", "pid", p.pid, "most", r.opt.drainTime())
	r.tell(p)
	_, err := ask(p.admin, http.MethodPost, "/healthcheck/fail")
	if err == nil {
		err = r.awaitIdle(p)
	}
	if err != nil && p.running() {
		r.log.Warn("envoy cannot be drained", "pid", p.pid, "error", err)
	}
}

// tell has a process tell its idle clients that it ends.
func (r *runner) tell(p *process) {
	if err := r.dir.write(r.dir.drainFile(p.epoch), []byte("1")); err != nil {
		r.log.Warn("idle clients are not told that envoy ends", "pid", p.pid, "error", err)
	}
}

// awaitIdle closes the listeners when all clients have been told or nobody is
// connected, and returns when all work is done, or the drain time is over. While
// an epoch before drains too, its work counts as well.
func (r *runner) awaitIdle(p *process) error {
	told, ends := r.clock.After(tellTime), r.clock.After(r.opt.drainTime())
	alone, settle := r.parent == nil || r.parent == p, settleTime
	if !alone {
		settle += mergeTime
	}
	for accepting, still := true, time.Duration(0); ; still += drainPoll {
		now, err := askWork(p.admin)
		if err != nil {
			return err
		}
		switch {
		case accepting || !now.idle():
			still = 0
		case still >= settle, alone && now.connections == 0:
			return nil
		}
		if accepting && (now.connections == 0 || passed(told)) {
			accepting = false
			if _, err := ask(p.admin, http.MethodPost, "/drain_listeners"); err != nil {
				return err
			}
		}
		select {
		case <-p.done:
			return nil
		case <-ends:
			r.log.Warn("envoy ends before its clients are served", "pid", p.pid,
				"requests", now.requests, "streams", now.streams, "connections", now.connections)
			return nil
		case <-r.clock.After(drainPoll):
		}
	}
}

// passed reports whether a timer has fired.
func passed(timer <-chan time.Time) bool {
	select {
	case <-timer:
		return true
	default:
		return false
	}
}

// hold goes on serving as before for the declared time, for those who send clients
// here to see that this is going to end.
func (r *runner) hold() {
	if r.current == nil || r.opt.DrainMin <= 0 {
		return
	}
	r.set(PhaseDraining, func(*State) {})
	r.log.Info("envoy serves on until balancers have noticed", "for", r.opt.DrainMin)
	select {
	case <-r.current.done:
	case <-r.clock.After(r.opt.DrainMin):
	}
}

// shutdown drains and ends all processes and removes what they left.
func (r *runner) shutdown() {
	r.hold()
	if r.current != nil {
		if r.parent != nil {
			r.tell(r.parent) // all else it does already
		}
		r.drain(r.current)
	} else if r.parent != nil {
		r.drain(r.parent) // it was never taken over
	}
	if r.parent != nil {
		r.discard(r.parent)
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
	p, settings := r.current, r.opt.Settings
	r.s.settings.Store(&settings)
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
