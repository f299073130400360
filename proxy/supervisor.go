package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicegw/sluice/model"
)

// ErrNoEnvoy is returned when there is no Envoy to talk to.
var ErrNoEnvoy = errors.New("no envoy is running")

// Options are what a [Supervisor] needs to know.
type Options struct {
	Binary
	// DataDir is made if absent and used by one supervisor at a time. Its
	// path must leave room for the names of unix sockets (107 bytes).
	DataDir string
	// XDSSocket is where Envoy finds the xDS server. That server must go on
	// answering until Run has returned.
	XDSSocket       string
	NodeID, Cluster string
	// Concurrency is the number of worker threads; 0 leaves it to Envoy.
	Concurrency int
	// DrainTime is how long connections may finish when Envoy stops, is hot
	// restarted or loses a listener; 0 means Settings.DrainTimeout. Envoy
	// counts in whole seconds: it is rounded up.
	DrainTime time.Duration
	// DrainMin is how long Envoy serves on as before when the context of Run ends,
	// before it drains.
	DrainMin time.Duration
	// KeepEnvoy lets Envoy outlive a Sluice that is killed; see the package
	// comment.
	KeepEnvoy bool
	Settings  model.Settings
	// HugePages has the memory of Envoy in huge pages, if the kernel gives them to
	// those who ask and Sluice has CAP_SYS_NICE.
	HugePages bool
	// Locality is where the proxy runs; zero when nobody said.
	Locality model.Locality
	// Log gets what the supervisor does and what Envoy logs.
	Log *slog.Logger
	// Output gets what Envoy writes to its standard output, which is where
	// access logs to /dev/stdout go; nil drops it.
	Output io.Writer
	// OnState is told every change, in order, from the goroutine of Run; it
	// must not block.
	OnState func(State)
	// Clock is the real one if zero.
	Clock Clock
}

// drainTime is how long connections may finish.
func (o *Options) drainTime() time.Duration {
	if o.DrainTime > 0 {
		return o.DrainTime
	}
	return o.Settings.DrainTimeout
}

// Clock is time as the supervisor sees it.
type Clock struct {
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time
}

// Change is what a hot restart brings besides a new epoch; zero fields stay.
type Change struct {
	// Binary is the path of another Envoy. The same path is probed again, so
	// a binary that was replaced in place needs no Change.
	Binary string
	// Settings give another bootstrap.
	Settings *model.Settings
}

// Supervisor keeps one Envoy alive.
type Supervisor struct {
	opt      Options
	state    atomic.Pointer[State]
	admin    atomic.Pointer[string]
	health   atomic.Pointer[health]
	settings atomic.Pointer[model.Settings] // of the Envoy that serves
	requests chan request
	ran      atomic.Bool
	ended    chan struct{}
}

// request is a call of Restart on its way to Run.
type request struct {
	change Change
	done   chan error
}

// New returns a supervisor that has not started anything.
func New(o Options) *Supervisor {
	if o.Clock.Now == nil {
		o.Clock.Now = time.Now
	}
	if o.Clock.After == nil {
		o.Clock.After = time.After
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Output == nil {
		o.Output = io.Discard
	}
	s := &Supervisor{opt: o, requests: make(chan request), ended: make(chan struct{})}
	s.state.Store(&State{Phase: PhaseStopped})
	s.health.Store(&health{})
	s.settings.Store(&o.Settings)
	return s
}

// State returns what Envoy is doing now.
func (s *Supervisor) State() State { return *s.state.Load() }

// Run starts Envoy, or takes over the one that a killed Sluice left behind,
// and keeps one running until ctx ends. Then it serves on for DrainMin, and
// drains: for a moment clients are told to leave, then the listeners close, and
// the processes end when no request, upgrade or stream of bytes is left or
// DrainTime is over. It returns nil then, and an error only when the data
// directory cannot be used. It may be called once.
func (s *Supervisor) Run(ctx context.Context) error {
	if !s.ran.CompareAndSwap(false, true) {
		return errors.New("run supervisor: it ran before")
	}
	defer close(s.ended)
	if len(s.opt.XDSSocket) > socketPathMax {
		return fmt.Errorf("xds socket %s: its path is longer than the %d bytes of a unix socket", s.opt.XDSSocket, socketPathMax)
	}
	dir, err := openDataDir(s.opt.DataDir)
	if err != nil {
		return err
	}
	defer dir.close()
	// Looking after adopted processes goes on while they drain.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	r := &runner{
		s: s, dir: dir, life: life, opt: s.opt, log: s.opt.Log, clock: s.opt.Clock,
		stdout: &sharedWriter{w: s.opt.Output}, state: State{Phase: PhaseStarting},
	}
	var watch sync.WaitGroup
	defer watch.Wait()
	defer end()
	watch.Go(func() { s.watchHealth(life) })
	r.parent = r.survivor()
	return r.loop(ctx)
}

// Restart replaces the process without losing a request: the next epoch takes
// over the listeners, then the one before drains and ends. It returns when that
// has happened, or with the reason why the old one still serves. Binary and
// bootstrap are tried out before anything is touched. If ctx ends first, an
// ongoing restart goes on. Outside [PhaseRunning] it waits for it.
func (s *Supervisor) Restart(ctx context.Context, c Change) error {
	req := request{change: c, done: make(chan error, 1)}
	select {
	case s.requests <- req:
	case <-s.ended:
		return fmt.Errorf("hot restart: %w", ErrNoEnvoy)
	case <-ctx.Done():
		return fmt.Errorf("hot restart: envoy is %s: %w", s.State().Phase, ctx.Err())
	}
	select {
	case err := <-req.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("hot restart goes on: %w", ctx.Err())
	}
}

// Admin sends a request to the admin interface of the newest epoch. The caller
// closes the body. path starts with a slash and may have a query, for example
// "/stats/prometheus?usedonly". It returns [ErrNoEnvoy] when there is none.
//
// The epoch before loses its admin interface as soon as the next one starts,
// which is Envoy's way.
func (s *Supervisor) Admin(ctx context.Context, method, path string) (*http.Response, error) {
	socket := s.admin.Load()
	if socket == nil || *socket == "" {
		return nil, ErrNoEnvoy
	}
	return adminCall(ctx, *socket, method, path)
}
