package loadtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// turn is how long one proxy is saturated before it is the other's turn.
const turn = time.Second

// errWrongAnswer is a call that was answered, but not as it should be.
var errWrongAnswer = errors.New("wrong answer")

// caller is the load of one worker. It is for one goroutine at a time.
type caller interface {
	// call sends the i-th request and waits for its answer.
	call(ctx context.Context, i int) error
	close()
}

// contest is a comparison of sluice's Envoy with static ones under the same
// load.
type contest struct {
	address string // host:port of sluice's listener
	// config returns the configuration of a static Envoy on a port: as at an
	// edge, or with nothing but the routes.
	config func(port int, edge bool) (string, error)
	// bare adds a third side, the static Envoy with nothing but the routes.
	bare bool
	dial func(address string) caller
}

// side is one of the proxies that are compared, from its start to its end.
type side struct {
	address string
	pid     int
	dial    func(address string) caller
	tally
}

// tally is what a side has done.
type tally struct {
	rates   []float64 // calls per second, one for each turn
	latency *histogram
	cpu     time.Duration
	wrong   int
}

// play saturates the sides in turns, each with one worker thread on a core of
// its own. All are started anew options.Starts times: two processes of one
// binary and one configuration differ by several percent for as long as they
// live, by where their memory happens to lie, and only the mean of several says
// something.
func (l *lab) play(ctx context.Context, c contest) (measures, error) {
	var own, edge, bare []tally
	for n := range l.options.Starts {
		got, err := l.playOnce(ctx, c)
		if err != nil {
			return nil, err
		}
		own, edge = append(own, got[0]), append(edge, got[1])
		if c.bare {
			bare = append(bare, got[2])
		}
		l.note("start %d of %d: %.0f a second, static %.0f", n+1, l.options.Starts, median(got[0].rates), median(got[1].rates))
	}
	return compare(own, edge, bare), nil
}

// playOnce starts every side, lets them have their share of turns, and stops
// them.
func (l *lab) playOnce(ctx context.Context, c contest) ([]tally, error) {
	defer l.stopAll()
	sides, err := l.openSides(ctx, c)
	if err != nil {
		return nil, err
	}
	together, err := separate(sides)
	if err != nil {
		return nil, err
	}
	defer together()
	for _, s := range sides { // warm up: connections, caches, clock
		if err := l.saturate(ctx, s); err != nil {
			return nil, err
		}
		s.tally = tally{latency: newHistogram()}
	}
	for n := range max(1, l.options.Seconds/l.options.Starts) {
		for k := range sides { // each goes first as often as the others
			if err := l.saturate(ctx, sides[(n+k)%len(sides)]); err != nil {
				return nil, err
			}
		}
	}
	tallies := make([]tally, len(sides))
	for i, s := range sides {
		tallies[i] = s.tally
	}
	return tallies, nil
}

// openSides starts sluice and the static Envoys: at an edge, and bare if the
// contest wants it.
func (l *lab) openSides(ctx context.Context, c contest) ([]*side, error) {
	if err := l.startAll(ctx, "--concurrency", "1"); err != nil {
		return nil, err
	}
	pid, err := envoyOf(l.sluice.pid())
	if err != nil {
		return nil, err
	}
	sides := []*side{{address: c.address, pid: pid, dial: c.dial, tally: tally{latency: newHistogram()}}}
	for _, edge := range []bool{true, false} {
		if !edge && !c.bare {
			continue
		}
		s, err := l.startStatic(ctx, c, edge)
		if err != nil {
			return nil, err
		}
		sides = append(sides, s)
	}
	return sides, answering(ctx, l.sluice, sides[0])
}

// answering waits until a side, which lives as long as a process of ours, answers
// a call.
func answering(ctx context.Context, proxy *child, s *side) error {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	var last error
	err := proxy.waitFor(ctx, func() bool {
		try := s.dial(s.address)
		defer try.close()
		last = try.call(ctx, 0)
		return last == nil
	})
	if err != nil {
		return fmt.Errorf("wait for an answer of %s: %w", s.address, errors.Join(err, last))
	}
	return nil
}

// startStatic starts an Envoy with the world's routes written out.
func (l *lab) startStatic(ctx context.Context, c contest, edge bool) (*side, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	text, err := c.config(port, edge)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(l.root, "static.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the static configuration: %w", err)
	}
	proxy, err := startChild(filepath.Join(l.root, "static.log"), l.place.Envoy,
		"-c", path, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error")
	if err != nil {
		return nil, err
	}
	l.others = append(l.others, proxy)
	s := &side{
		address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), pid: proxy.pid(),
		dial: c.dial, tally: tally{latency: newHistogram()},
	}
	if err := answering(ctx, proxy, s); err != nil {
		return nil, fmt.Errorf("start the static Envoy: %w; the end of its output:\n%s", err, proxy.lastWords())
	}
	return s, nil
}

// separate gives the proxies the first core, as they never work at the same
// time, and this process the second. The function it returns gives this process
// its cores back.
func separate(sides []*side) (together func(), err error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, fmt.Errorf("read the cores of this process: %w", err)
	}
	if all.Count() < 2 || !all.IsSet(0) || !all.IsSet(1) {
		return func() {}, nil
	}
	var first, second unix.CPUSet
	first.Set(0)
	second.Set(1)
	for _, s := range sides {
		if err := pin(s.pid, first); err != nil {
			return nil, err
		}
	}
	// Without the right to pin there is nothing to give back either.
	together = func() { _ = pin(os.Getpid(), all) }
	return together, pin(os.Getpid(), second)
}

// saturate calls on every connection as fast as answers come, for one turn.
func (l *lab) saturate(ctx context.Context, s *side) error {
	before, err := statOf(s.pid)
	if err != nil {
		return err
	}
	began := time.Now()
	workers := make([]tally, l.options.Connections)
	var wg sync.WaitGroup
	for i := range workers {
		workers[i].latency = newHistogram()
		wg.Go(func() { workers[i].hammer(ctx, s, i) })
	}
	wg.Wait()
	took := time.Since(began)
	after, err := statOf(s.pid)
	if err != nil {
		return err
	}
	count := int64(0)
	for _, w := range workers {
		count += w.latency.h.TotalCount()
		s.latency.merge(w.latency)
		s.wrong += w.wrong
	}
	s.rates = append(s.rates, float64(count)/took.Seconds())
	s.cpu += after.cpu - before.cpu
	return ctx.Err()
}

// hammer makes one call after the other until the turn is over.
func (t *tally) hammer(ctx context.Context, s *side, from int) {
	c := s.dial(s.address)
	defer c.close()
	end := time.Now().Add(turn)
	for i := from; ctx.Err() == nil; i++ {
		began := time.Now()
		if began.After(end) {
			return
		}
		err := c.call(ctx, i)
		t.latency.add(time.Since(began))
		if err != nil {
			t.wrong++
		}
	}
}

// compare returns the figures of all sides, one tally for each start, and their
// ratios; above 1 means that sluice's is better.
func compare(own, static, bare []tally) measures {
	o, s := sum(own), sum(static)
	m := measures{
		"throughput_ratio": ratio(mean(o.rates), mean(s.rates)),
		"p99_ratio":        ratio(s.latency.millis(99), o.latency.millis(99)),
		"cpu_ratio":        ratio(s.cpuPerCall(), o.cpuPerCall()),
		"wrong":            float64(o.wrong + s.wrong),
	}
	sides := map[string]tally{"sluice": o, "static": s}
	if len(bare) > 0 {
		b := sum(bare)
		sides["bare"] = b
		m["bare_throughput_ratio"] = ratio(mean(o.rates), mean(b.rates))
		m["wrong"] += float64(b.wrong)
	}
	for name, t := range sides {
		m[name+"_rps"] = mean(t.rates)
		m[name+"_cpu_us_per_request"] = t.cpuPerCall()
		m.add(t.latency.measures(name + "_"))
	}
	return m
}

// sum adds up the starts of one side; its rates are then one for each start,
// the median of the start's turns.
func sum(starts []tally) tally {
	all := tally{latency: newHistogram()}
	for _, t := range starts {
		all.rates = append(all.rates, median(t.rates))
		all.latency.merge(t.latency)
		all.cpu += t.cpu
		all.wrong += t.wrong
	}
	return all
}

// cpuPerCall returns the proxy's CPU time for a call in microseconds.
func (t tally) cpuPerCall() float64 {
	return ratio(float64(t.cpu.Microseconds()), float64(t.latency.h.TotalCount()))
}

// ratio returns a/b, or 0 when b is 0.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// median returns the middle of values, or the mean of the two middle ones; 0
// for none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// mean returns the arithmetic mean; 0 for none.
func mean(values []float64) float64 {
	total := 0.0
	for _, v := range values {
		total += v
	}
	return ratio(total, float64(len(values)))
}
