package proxy

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTroubles(t *testing.T) {
	stats := func(values map[string]int) (v vitals) {
		for name, n := range values {
			v.note(name, n)
		}
		return v
	}
	const (
		heap     = "overload.envoy.resource_monitors.fixed_heap.pressure"
		requests = "overload.envoy.overload_actions.stop_accepting_requests.active"
		accept   = "overload.envoy.overload_actions.reject_incoming_connections.active"
	)
	for name, c := range map[string]struct {
		stats map[string]int
		want  []string
	}{
		"well":                    {map[string]int{heap: 94, requests: 0, accept: 0, "listener.a.downstream_cx_active": 9}, nil},
		"it refuses requests":     {map[string]int{heap: 96, requests: 1, accept: 0}, []string{"envoy refuses every request: 96 % of maxHeapBytes are in use"}},
		"it refuses connections":  {map[string]int{heap: 99, requests: 1, accept: 1}, []string{"envoy refuses every connection: 99 % of maxHeapBytes are in use"}},
		"as many as there may be": {map[string]int{"listener.a.downstream_cx_active": 4, "listener.b.downstream_cx_active": 6}, []string{"envoy refuses every connection: all 10 of maxConnections are open"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := stats(c.stats)
			if diff := cmp.Diff(c.want, v.troubles(10)); diff != "" {
				t.Errorf("troubles (-want +got):\n%s", diff)
			}
		})
	}
}

// An Envoy that takes the question and never answers is in trouble; while another
// takes over, that may not answer yet.
func TestSilentEnvoyIsInTrouble(t *testing.T) {
	socket := filepath.Join(tempDir(t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := New(Options{})
	s.admin.Store(&socket)
	for phase, known := range map[Phase]bool{PhaseRunning: true, PhaseRestarting: false} {
		s.state.Store(&State{Phase: phase, PID: 1 << 22})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		h, ok := s.examine(ctx)
		cancel()
		if ok != known || len(h.troubles) != 1 || !strings.Contains(h.troubles[0], "does not answer") {
			t.Errorf("%s: %+v %v", phase, h, ok)
		}
	}
	s.state.Store(&State{Phase: PhaseRunning, PID: 7})
	s.health.Store(&health{pid: 7, troubles: []string{"a", "b"}})
	if got := s.Obstacle(); got != "a; b" {
		t.Errorf("obstacle %q", got)
	}
	s.state.Store(&State{Phase: PhaseRunning, PID: 8})
	if got := s.Obstacle(); got != "" {
		t.Errorf("a new Envoy is blamed for the one before: %q", got)
	}
	s.state.Store(&State{Phase: PhaseBackingOff, Reason: "it ended"})
	if got := s.Obstacle(); !strings.Contains(got, "it ended") {
		t.Errorf("obstacle %q while no Envoy runs", got)
	}
}

// What is asked for is what a real Envoy says.
func TestVitals(t *testing.T) {
	w := newWorld(t)
	s, _ := supervise(t, w.options(t))
	awaitPhase(t, s, PhaseRunning)
	dial(t, w.addr)
	var v vitals
	names := map[string]bool{}
	eventually(t, "the connection is counted", func() bool {
		v = vitals{}
		err := askStats(t.Context(), *s.admin.Load(), vitalStats, func(name string, n int) {
			names[name] = true
			v.note(name, n)
		})
		if err != nil {
			t.Fatal(err)
		}
		return v.connections == 1
	})
	if v.listeners != 1 || v.heap < 0 || v.heap > 50 || v.noRequests || v.noConnections {
		t.Errorf("vitals %+v", v)
	}
	for _, name := range []string{
		"overload.envoy.overload_actions.stop_accepting_requests.active",
		"overload.envoy.overload_actions.reject_incoming_connections.active",
		"overload.envoy.resource_monitors.fixed_heap.pressure",
	} {
		if !names[name] {
			t.Errorf("envoy has no %s among %v", name, names)
		}
	}
}
