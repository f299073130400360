package loadtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// runChurn adds hosts while others are edited at a steady rate. In the end every
// host must answer as the disk says.
func runChurn(ctx context.Context, l *lab) (measures, error) {
	if err := l.startAll(ctx); err != nil {
		return nil, err
	}
	storm, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	var edits int
	var stormErr error
	wg.Go(func() { edits, stormErr = l.editSteadily(storm) })
	began := time.Now()
	m, err := l.measureEach(ctx, breath, l.addOne)
	took := time.Since(began)
	stop()
	wg.Wait()
	if err := errors.Join(err, stormErr); err != nil {
		return nil, err
	}
	m["background_edits"] = float64(edits)
	m["background_edits_per_s"] = float64(edits) / took.Seconds()
	return m, l.sweep(ctx)
}

// editSteadily moves random hosts of those that were there at the start, at
// options.EditsPerSecond until ctx ends, and returns how many.
func (l *lab) editSteadily(ctx context.Context) (int, error) {
	tick := time.NewTicker(time.Second / time.Duration(l.options.EditsPerSecond))
	defer tick.Stop()
	pick := rand.New(rand.NewPCG(2, 2))
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return n, nil
		}
		if err := l.moveOne(pick.IntN(l.options.Hosts)); err != nil {
			return n, err
		}
	}
}

func (l *lab) moveOne(i int) error {
	l.changing.Lock()
	l.world.moveHost(i)
	f := l.world.hostFile(i)
	l.changing.Unlock()
	_, err := l.disk.replace(f)
	return err
}

// hotHosts is how many hosts take the edits under load, a part of those that
// take the load.
const hotHosts = 20

// runEditUnderLoad makes edits that each create a destination, move a host to
// it and remove the destination that the host had before, under an open-loop
// load on these hosts and others. Nothing may be lost.
func runEditUnderLoad(ctx context.Context, l *lab) (measures, error) {
	if err := l.startAll(ctx); err != nil {
		return nil, err
	}
	loading, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	var load loadResult
	wg.Go(func() {
		load = openLoop{
			address: l.gateway, rps: l.options.RPS, workers: 32,
			host: func(n int) string { return hostName(n % min(2*hotHosts, l.options.Hosts)) },
		}.run(loading)
	})
	m, err := l.measureEach(ctx, longBreath, l.destinationEdits())
	stop()
	wg.Wait()
	if err != nil {
		return nil, err
	}
	m.add(load.latency.measures("load_"))
	m["load_not_200"] = float64(load.not200)
	m["load_errors"] = float64(load.errors)
	m["lost"] = float64(load.not200 + load.errors)
	if load.first != "" {
		l.note("first loss: %s", load.first)
	}
	return m, nil
}

// destinationEdits returns the next edit of a host in turn: first the file of
// the new destination, then the host's, and when the host comes by the next
// time, the file of the one it left is removed.
func (l *lab) destinationEdits() func() (change, error) {
	hot := min(hotHosts, l.options.Hosts)
	current := make([]file, hot) // the destination's file that each host uses
	n := 0
	return func() (change, error) {
		i := n % hot
		// Backends take turns, so that the answer shows the edit.
		to := l.backends.refs[(i+1+n/hot)%len(l.backends.refs)]
		name := fmt.Sprintf("d%05d", n)
		created := serviceFile(name, to.port)
		n++
		if _, err := l.disk.replace(created); err != nil {
			return change{}, err
		}
		at, err := l.disk.replace(l.world.hostFileTo(i, name))
		if err != nil {
			return change{}, err
		}
		if left := current[i]; left.path != "" {
			if err := l.disk.remove(left); err != nil {
				return change{}, err
			}
		}
		current[i] = created
		return change{
			at: at, host: hostName(i), want: to.name, every: pollEvery,
			before: func(a answer) bool { return a.code == 200 },
		}, nil
	}
}
