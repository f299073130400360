package proxy

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	// healthPoll is how often a live Envoy is asked how it does.
	healthPoll = 2 * time.Second
	// answerTime is how long it may take to answer. Its main thread takes seconds
	// for a large change, while its workers serve on.
	answerTime = 10 * time.Second
)

// health is how an Envoy does.
type health struct {
	pid int
	// troubles are reasons to send it no traffic, as sentences.
	troubles []string
	// heapPercent is how much of the heap is in use.
	heapPercent int
}

// watchHealth keeps the health of the Envoy that serves, until ctx ends.
func (s *Supervisor) watchHealth(ctx context.Context) {
	tick := time.NewTicker(healthPoll)
	defer tick.Stop()
	for {
		if h, ok := s.examine(ctx); ok {
			s.health.Store(&h)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// examine asks the Envoy that serves how it does, and returns false when there is
// none, or when it does not say and need not yet.
func (s *Supervisor) examine(ctx context.Context) (health, bool) {
	state, socket := s.State(), s.admin.Load()
	if state.Phase != PhaseRunning && state.Phase != PhaseRestarting || socket == nil {
		return health{}, false
	}
	h := health{pid: state.PID}
	if fields := stat(state.PID); len(fields) > 0 && strings.ContainsAny(fields[0], "Tt") {
		h.troubles = []string{fmt.Sprintf("envoy (pid %d) is stopped by a signal or a debugger; kill -CONT %d lets it go on", state.PID, state.PID)}
		return h, true
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var v vitals
	if err := askStats(ctx, *socket, vitalStats, v.note); err != nil {
		// An epoch that takes over may not answer yet; the one before serves.
		h.troubles = []string{fmt.Sprintf("envoy (pid %d) does not answer: %v", state.PID, err)}
		return h, state.Phase == PhaseRunning
	}
	h.heapPercent = v.heap
	h.troubles = v.troubles(int(s.settings.Load().MaxConnections))
	if v.listeners == 0 && state.Phase == PhaseRunning {
		h.troubles = append(h.troubles, "no port is open: no Gateway asks for one, or none can be opened; see /status")
	}
	return h, true
}

// vitals are the stats that tell how an Envoy does.
type vitals struct {
	listeners, connections, heap int
	noRequests, noConnections    bool
}

const vitalStats = `^listener_manager[.]total_listeners_active$` +
	`|^listener[.].*[.]downstream_cx_active$` +
	`|^overload[.]envoy[.](overload_actions[.](stop_accepting_requests|reject_incoming_connections)[.]active|resource_monitors[.]fixed_heap[.]pressure)$`

func (v *vitals) note(name string, n int) {
	switch {
	case strings.HasSuffix(name, ".total_listeners_active"):
		v.listeners = n
	case strings.HasSuffix(name, ".downstream_cx_active"):
		v.connections += n
	case strings.HasSuffix(name, ".pressure"):
		v.heap = n
	case strings.Contains(name, "stop_accepting_requests"):
		v.noRequests = n > 0
	case strings.Contains(name, "reject_incoming_connections"):
		v.noConnections = n > 0
	}
}

// troubles says what is refused.
func (v *vitals) troubles(maxConnections int) []string {
	var out []string
	switch {
	case v.noConnections:
		out = append(out, fmt.Sprintf("envoy refuses every connection: %d %% of maxHeapBytes are in use", v.heap))
	case v.noRequests:
		out = append(out, fmt.Sprintf("envoy refuses every request: %d %% of maxHeapBytes are in use", v.heap))
	}
	if maxConnections > 0 && v.connections >= maxConnections {
		out = append(out, fmt.Sprintf("envoy refuses every connection: all %d of maxConnections are open", maxConnections))
	}
	return out
}

// Obstacle says why Envoy should be sent no traffic, "" when nothing is known
// against it. It does not wait: Envoy is asked every two seconds.
func (s *Supervisor) Obstacle() string {
	switch state := s.State(); state.Phase {
	case PhaseBackingOff:
		return "envoy does not run: " + state.Reason
	case PhaseRunning, PhaseRestarting:
		if h := s.health.Load(); h.pid == state.PID {
			return strings.Join(h.troubles, "; ")
		}
	}
	return ""
}

// HeapPercent returns how much of Settings.MaxHeapBytes the Envoy that serves has
// in use; 0 when that is not known.
func (s *Supervisor) HeapPercent() int {
	if h := s.health.Load(); h.pid != 0 && h.pid == s.State().PID {
		return h.heapPercent
	}
	return 0
}
