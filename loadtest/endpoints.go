package loadtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// movers are Kubernetes services whose one endpoint moves from backend to
// backend, each behind a host of its own.
type movers struct {
	backends []backendRef
	at       []int // index of the backend, for each service
}

func moverHost(i int) string { return fmt.Sprintf("m%05d.load.test", i) }

// files returns everything of the i-th service.
func (m *movers) files(i int) []file {
	name := fmt.Sprintf("m%05d", i)
	service := fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %s}
spec:
  ports: [{name: http, port: 80, targetPort: 80}]
`, name)
	host := fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %[1]s}
spec:
  hosts: [%[2]s]
  gateways: [load]
  http:
  - route: [{destination: {host: %[1]s.default.svc.cluster.local, port: {number: 80}}}]
`, name, moverHost(i))
	return []file{{"services/" + name + ".yaml", service}, m.slice(i), {"hosts/" + name + ".yaml", host}}
}

// slice returns the endpoints of the i-th service as they are now.
func (m *movers) slice(i int) file {
	name := fmt.Sprintf("m%05d", i)
	return file{"services/" + name + "-slice.yaml", fmt.Sprintf(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: http, port: %[2]d}]
endpoints: [{addresses: [127.0.0.1]}]
`, name, m.backends[m.at[i]].port)}
}

func (m *movers) backendOf(i int) string { return m.backends[m.at[i]].name }

// move moves the i-th endpoint to the next backend.
func (m *movers) move(i int) { m.at[i] = (m.at[i] + 1) % len(m.backends) }

// measuredMovers is how many services are left out of the storm, to be measured.
const measuredMovers = 10

// runEndpoints changes endpoints at a steady rate, and measures how long other
// changes take meanwhile: of an endpoint and of a route, by turns.
func runEndpoints(ctx context.Context, l *lab) (measures, error) {
	m := &movers{backends: l.backends.refs, at: make([]int, l.options.Hosts)}
	for i := range m.at {
		m.at[i] = i % len(m.backends)
		if err := l.disk.write(m.files(i)); err != nil {
			return nil, err
		}
	}
	if err := l.startAll(ctx); err != nil {
		return nil, err
	}
	if err := l.sweepMovers(ctx, m); err != nil {
		return nil, err
	}
	measured := min(measuredMovers, (len(m.at)+1)/2)
	storm, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	var changes int
	var stormErr error
	wg.Go(func() { changes, stormErr = l.moveSteadily(storm, m, measured) })
	began := time.Now()
	got, err := l.measureMoves(ctx, m, measured)
	took := time.Since(began)
	stop()
	wg.Wait()
	if err := errors.Join(err, stormErr); err != nil {
		return nil, err
	}
	got["background_changes_per_s"] = float64(changes) / took.Seconds()
	return got, l.sweepMovers(ctx, m)
}

// moveSteadily moves random endpoints beyond the measured ones at
// options.EditsPerSecond until ctx ends, and returns how many. What it could
// not do in time it catches up on.
func (l *lab) moveSteadily(ctx context.Context, m *movers, measured int) (int, error) {
	pick := rand.New(rand.NewPCG(3, 3))
	others := len(m.at) - measured
	began := time.Now()
	for n := 0; ; n++ {
		due := began.Add(time.Duration(n) * time.Second / time.Duration(l.options.EditsPerSecond))
		if wait := time.Until(due); wait > 0 && pause(ctx, wait) != nil || ctx.Err() != nil || others == 0 {
			return n, nil
		}
		i := measured + pick.IntN(others)
		m.move(i)
		if _, err := l.disk.replace(m.slice(i)); err != nil {
			return n, err
		}
	}
}

// measureMoves moves a measured endpoint, then edits a route, and so on.
func (l *lab) measureMoves(ctx context.Context, m *movers, measured int) (measures, error) {
	c := &client{address: l.gateway}
	defer c.close()
	moves, edits, wrong := newHistogram(), newHistogram(), 0
	for n := range l.options.Edits {
		for _, next := range []struct {
			change func() (change, error)
			into   *histogram
		}{
			{func() (change, error) { return l.moveEndpoint(m, n%measured) }, moves},
			{func() (change, error) { return l.editRoute(n % l.options.Hosts) }, edits},
		} {
			ch, err := next.change()
			if err != nil {
				return nil, err
			}
			s, err := l.firstRight(ctx, c, ch)
			if err != nil {
				return nil, err
			}
			next.into.add(s.after)
			wrong += s.wrong
			if err := pause(ctx, breath); err != nil {
				return nil, err
			}
		}
	}
	got := moves.measures("endpoint_")
	got.add(edits.measures("route_"))
	got["wrong"] = float64(wrong)
	return got, nil
}

func (l *lab) moveEndpoint(m *movers, i int) (change, error) {
	old := m.backendOf(i)
	m.move(i)
	at, err := l.disk.replace(m.slice(i))
	return change{
		at: at, host: moverHost(i), want: m.backendOf(i), every: pollEvery,
		before: func(a answer) bool { return a.code == 200 && a.backend == old },
	}, err
}

// sweepMovers returns once every service has answered from where its endpoint
// is.
func (l *lab) sweepMovers(ctx context.Context, m *movers) error {
	c := &client{address: l.gateway}
	defer c.close()
	for i := range m.at {
		_, err := l.firstRight(ctx, c, change{
			at: time.Now(), host: moverHost(i), want: m.backendOf(i), every: 5 * time.Millisecond,
		})
		if err != nil {
			return err
		}
	}
	return nil
}
