package loadtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// settle bounds the wait for one change to be seen.
const settle = 30 * time.Second

// lab is one running world: backends, files, sluice and its Envoy.
type lab struct {
	place    Place
	options  Options
	root     string // everything on disk
	disk     disk
	world    *world
	changing sync.Mutex // held while two goroutines change the world
	backends *backends
	gateway  string // host:port of the gateway
	admin    string // URL of the admin API
	sluice   *child // nil until start
	others   []*child
}

// newLab makes the files and starts the backends, but not sluice.
func newLab(place Place, o Options) (*lab, error) {
	l := &lab{place: place, options: o}
	if err := l.prepare(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) prepare() (err error) {
	if l.root, err = os.MkdirTemp("", "sluice-loadtest-"); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	if l.disk, err = newDisk(l.root); err != nil {
		return err
	}
	if l.backends, err = startBackends(l.options.Services); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	adminPort, err := freePort()
	if err != nil {
		return err
	}
	l.gateway = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	l.admin = "http://127.0.0.1:" + strconv.Itoa(adminPort)
	l.world = newWorld(port, l.options.Hosts, l.backends.refs)
	return l.disk.write(l.world.files())
}

// freePort returns a port of 127.0.0.1 that nobody holds now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// start starts sluice and returns once its first configuration is live.
func (l *lab) start(ctx context.Context, flags ...string) error {
	args := []string{
		l.place.Sluice, "run",
		"--admin", l.admin[len("http://"):],
		"--envoy", l.place.Envoy,
		"--data-dir", filepath.Join(l.root, "data"),
		"--drain-time", "1s",
	}
	if n := l.options.ScopedAbove; n != nil {
		args = append(args, "--scoped-above", strconv.Itoa(*n))
	}
	args = append(append(args, flags...), l.disk.watched)
	var err error
	if l.sluice, err = startChild(filepath.Join(l.root, "sluice.log"), args...); err != nil {
		return err
	}
	err = l.sluice.waitFor(ctx, func() bool {
		body, err := fetch(ctx, l.admin+"/readyz")
		if err != nil {
			return false
		}
		return body.Close() == nil
	})
	if err != nil {
		return fmt.Errorf("wait for sluice to be ready: %w", err)
	}
	return nil
}

// startAll starts sluice and waits until every host answers.
func (l *lab) startAll(ctx context.Context, flags ...string) error {
	if err := l.start(ctx, flags...); err != nil {
		return err
	}
	if err := l.sweep(ctx); err != nil {
		return err
	}
	l.note("%d hosts answer", len(l.world.goesTo))
	return nil
}

// sweep asks every host on a few connections and returns once each has answered
// from its own backend.
func (l *lab) sweep(ctx context.Context) error {
	const workers = 4
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for n := range workers {
		wg.Go(func() {
			c := &client{address: l.gateway}
			defer c.close()
			for i := n; i < len(l.world.goesTo) && errs[n] == nil; i += workers {
				_, errs[n] = l.firstRight(ctx, c, change{
					at: time.Now(), host: hostName(i), want: l.world.backendOf(i), every: 5 * time.Millisecond,
				})
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// change is what a client waits for.
type change struct {
	at    time.Time // when it was made
	host  string
	want  string        // the backend that should answer
	every time.Duration // how often to ask
	// before tells whether an answer is right as long as the change has not
	// arrived; nil allows any.
	before func(answer) bool
}

// seen is how a change arrived.
type seen struct {
	after time.Duration // from at to the first right answer
	wrong int           // answers right neither before nor after, errors included
}

// firstRight asks until the wanted backend answers, at once and then on every
// tick on which no request is under way.
func (l *lab) firstRight(ctx context.Context, c *client, ch change) (seen, error) {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	tick := time.NewTicker(ch.every)
	defer tick.Stop()
	var s seen
	for {
		a, err := c.ask(ctx, ch.host)
		if err == nil && a.code == 200 && a.backend == ch.want {
			s.after = time.Since(ch.at)
			return s, nil
		}
		if err != nil || ch.before != nil && !ch.before(a) {
			s.wrong++
		}
		select {
		case <-tick.C:
		case <-l.sluice.ended:
			return s, errEnded
		case <-ctx.Done():
			return s, fmt.Errorf("wait for %s to answer from %s, last answer %v: %w", ch.host, ch.want, a, errors.Join(err, ctx.Err()))
		}
	}
}

// explain adds what sluice said last.
func (l *lab) explain(err error) error {
	if l.sluice == nil {
		return err
	}
	return fmt.Errorf("%w; the end of sluice's output:\n%s", err, l.sluice.lastWords())
}

// note writes a line of progress.
func (l *lab) note(format string, args ...any) {
	_, _ = fmt.Fprintf(l.place.Log, format+"\n", args...)
}

// stopAll ends sluice and the static Envoys; sluice's last words can still be
// read.
func (l *lab) stopAll() {
	for _, c := range append(l.others, l.sluice) {
		if c != nil {
			c.stop()
		}
	}
	l.others = nil
}

// close ends everything and removes the files.
func (l *lab) close() {
	l.stopAll()
	if l.backends != nil {
		l.backends.close()
	}
	if l.root != "" {
		_ = os.RemoveAll(l.root)
	}
}
