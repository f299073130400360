package loadtest

import (
	"context"
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

// side is one of the two proxies that are compared.
type side struct {
	address string
	pid     int
	rates   []float64 // requests per second, one for each turn
	latency *histogram
	cpu     time.Duration
	wrong   int
}

// runThroughput saturates sluice's Envoy and a static Envoy in turns, each with
// one worker thread on a core of its own, and compares them turn by turn.
func runThroughput(ctx context.Context, l *lab) (measures, error) {
	if err := l.startAll(ctx, "--concurrency", "1"); err != nil {
		return nil, err
	}
	static, err := l.startStatic(ctx)
	if err != nil {
		return nil, err
	}
	pid, err := envoyOf(l.sluice.pid())
	if err != nil {
		return nil, err
	}
	own := &side{address: l.gateway, pid: pid, latency: newHistogram()}
	sides := []*side{own, static}
	together, err := separate(sides)
	if err != nil {
		return nil, err
	}
	defer together()
	for _, s := range sides { // warm up: connections, caches, clock
		if err := l.saturate(ctx, &side{address: s.address, pid: s.pid, latency: newHistogram()}); err != nil {
			return nil, err
		}
	}
	for n := range l.options.Seconds {
		// Either side goes first as often as the other.
		first, second := sides[n%2], sides[1-n%2]
		for _, s := range []*side{first, second} {
			if err := l.saturate(ctx, s); err != nil {
				return nil, err
			}
		}
	}
	return compare(own, static), nil
}

// startStatic starts an Envoy with the world's routes written out.
func (l *lab) startStatic(ctx context.Context) (*side, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	text, err := staticConfig(l.world, port)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(l.root, "static.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the static configuration: %w", err)
	}
	c, err := startChild(filepath.Join(l.root, "static.log"), l.place.Envoy,
		"-c", path, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning")
	if err != nil {
		return nil, err
	}
	l.others = append(l.others, c)
	s := &side{address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), pid: c.pid(), latency: newHistogram()}
	try := &client{address: s.address}
	defer try.close()
	err = c.waitFor(ctx, func() bool {
		a, err := try.ask(ctx, hostName(0))
		return err == nil && a.code == 200
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the static Envoy: %w; the end of its output:\n%s", err, c.lastWords())
	}
	return s, nil
}

// separate gives both proxies the first core, as they never work at the same
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

// saturate asks on every connection as fast as answers come, for one turn.
func (l *lab) saturate(ctx context.Context, s *side) error {
	before, err := statOf(s.pid)
	if err != nil {
		return err
	}
	began := time.Now()
	workers := make([]side, l.options.Connections)
	var wg sync.WaitGroup
	for i := range workers {
		workers[i] = side{address: s.address, latency: newHistogram()}
		wg.Go(func() { l.hammer(ctx, &workers[i], i) })
	}
	wg.Wait()
	took := time.Since(began)
	after, err := statOf(s.pid)
	if err != nil {
		return err
	}
	count := int64(0)
	for i := range workers {
		count += workers[i].latency.h.TotalCount()
		s.latency.merge(workers[i].latency)
		s.wrong += workers[i].wrong
	}
	s.rates = append(s.rates, float64(count)/took.Seconds())
	s.cpu += after.cpu - before.cpu
	return ctx.Err()
}

// hammer asks one host after the other on one connection until the turn is over.
func (l *lab) hammer(ctx context.Context, s *side, from int) {
	c := &client{address: s.address}
	defer c.close()
	end := time.Now().Add(turn)
	for i := from; ctx.Err() == nil; i++ {
		host := i % len(l.world.goesTo)
		began := time.Now()
		if began.After(end) {
			return
		}
		a, err := c.ask(ctx, hostName(host))
		s.latency.add(time.Since(began))
		if err != nil || a.code != 200 || a.backend != l.world.backendOf(host) {
			s.wrong++
		}
	}
}

// compare returns the figures of both sides and their ratios; above 1 means
// that sluice's is better. The ratio of rates is the median of the turns'.
func compare(own, static *side) measures {
	ratios := make([]float64, len(own.rates))
	for i := range ratios {
		ratios[i] = ratio(own.rates[i], static.rates[i])
	}
	m := measures{
		"throughput_ratio": median(ratios),
		"p99_ratio":        ratio(static.latency.millis(99), own.latency.millis(99)),
		"cpu_ratio":        ratio(static.cpuPerRequest(), own.cpuPerRequest()),
		"wrong":            float64(own.wrong + static.wrong),
	}
	for name, s := range map[string]*side{"sluice": own, "static": static} {
		m[name+"_rps"] = median(s.rates)
		m[name+"_cpu_us_per_request"] = s.cpuPerRequest()
		m.add(s.latency.measures(name + "_"))
	}
	return m
}

// cpuPerRequest returns the proxy's CPU time for a request in microseconds.
func (s *side) cpuPerRequest() float64 {
	return ratio(float64(s.cpu.Microseconds()), float64(s.latency.h.TotalCount()))
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
