package loadtest

import (
	"context"
	"math/rand/v2"
	"time"
)

// pollEvery is how often a client asks while it waits for a change.
const pollEvery = time.Millisecond

// breath is the time between two changes: enough for the stragglers of one to
// be over before the next. Under load it is longer, so that there is some.
const (
	breath     = 10 * time.Millisecond
	longBreath = 50 * time.Millisecond
)

// runLoad measures from exec to the last host's first answer, and the memory
// and series afterwards.
func runLoad(ctx context.Context, l *lab) (measures, error) {
	began := time.Now()
	if err := l.start(ctx); err != nil {
		return nil, err
	}
	ready := time.Since(began)
	if err := l.sweep(ctx); err != nil {
		return nil, err
	}
	m := measures{"ready_s": ready.Seconds(), "all_answer_s": time.Since(began).Seconds()}
	l.note("%d hosts answer", len(l.world.goesTo))
	envoy, err := envoyOf(l.sluice.pid())
	if err != nil {
		return nil, err
	}
	mem, err := l.memory(envoy)
	if err != nil {
		return nil, err
	}
	m.add(mem)
	series, err := scrape(ctx, l.admin+"/proxy/stats/prometheus")
	if err != nil {
		return nil, err
	}
	m["envoy_series"] = float64(len(series))
	return m, nil
}

// runEdit moves one random host after the other to another service.
func runEdit(ctx context.Context, l *lab) (measures, error) {
	if err := l.startAll(ctx); err != nil {
		return nil, err
	}
	pick := rand.New(rand.NewPCG(1, 1))
	return l.measureEach(ctx, breath, func() (change, error) {
		return l.editRoute(pick.IntN(l.options.Hosts))
	})
}

// editRoute moves a host to another service; until that arrives the old one
// answers.
func (l *lab) editRoute(i int) (change, error) {
	old := l.world.backendOf(i)
	l.world.moveHost(i)
	at, err := l.disk.replace(l.world.hostFile(i))
	return change{
		at: at, host: hostName(i), want: l.world.backendOf(i), every: pollEvery,
		before: func(a answer) bool { return a.code == 200 && a.backend == old },
	}, err
}

// runAdd adds one host after the other.
func runAdd(ctx context.Context, l *lab) (measures, error) {
	if err := l.startAll(ctx); err != nil {
		return nil, err
	}
	return l.measureEach(ctx, breath, l.addOne)
}

// addOne puts a new host's file in place; until it arrives the answer is 404.
func (l *lab) addOne() (change, error) {
	l.changing.Lock()
	i := l.world.addHost()
	f, want := l.world.hostFile(i), l.world.backendOf(i)
	l.changing.Unlock()
	at, err := l.disk.replace(f)
	return change{
		at: at, host: hostName(i), want: want, every: pollEvery,
		before: func(a answer) bool { return a.code == 404 },
	}, err
}

// measureEach makes options.Edits changes, one after the other with rest between
// them, and waits for each on one keep-alive connection.
func (l *lab) measureEach(ctx context.Context, rest time.Duration, next func() (change, error)) (measures, error) {
	c := &client{address: l.gateway}
	defer c.close()
	return l.counted(ctx, l.options.Edits, func() (measures, error) {
		h, wrong := newHistogram(), 0
		for range l.options.Edits {
			ch, err := next()
			if err != nil {
				return nil, err
			}
			s, err := l.firstRight(ctx, c, ch)
			if err != nil {
				return nil, err
			}
			h.add(s.after)
			wrong += s.wrong
			if err := pause(ctx, rest); err != nil {
				return nil, err
			}
		}
		m := h.measures("")
		m["wrong"] = float64(wrong)
		return m, nil
	})
}
