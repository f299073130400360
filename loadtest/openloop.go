package loadtest

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// openLoop sends requests at a fixed rate whatever the answers do. Latency
// counts from the instant at which a request was due, so that a stalled proxy
// is charged for all the requests it delayed.
type openLoop struct {
	address string
	rps     int
	workers int                // connections
	host    func(n int) string // of the n-th request
}

// loadResult is what came back.
type loadResult struct {
	latency *histogram
	not200  int
	errors  int
	first   string // the first loss, "" when nothing was lost
}

// due is a request and its time.
type due struct {
	n  int
	at time.Time
}

// run sends until ctx ends and every request sent has been answered.
func (o openLoop) run(ctx context.Context) loadResult {
	queue := make(chan due, o.rps*int(settle/time.Second))
	results := make([]loadResult, o.workers)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() { results[i] = o.work(context.WithoutCancel(ctx), queue) })
	}
	o.schedule(ctx, queue)
	close(queue)
	wg.Wait()
	return mergeLoads(results)
}

// schedule puts requests into the queue when they are due.
func (o openLoop) schedule(ctx context.Context, queue chan<- due) {
	began := time.Now()
	for n := 0; ; n++ {
		at := began.Add(time.Duration(n) * time.Second / time.Duration(o.rps))
		if wait := time.Until(at); wait > 0 && pause(ctx, wait) != nil || ctx.Err() != nil {
			return
		}
		select {
		case queue <- due{n, at}:
		case <-ctx.Done():
			return
		}
	}
}

// work sends what is due on one connection.
func (o openLoop) work(ctx context.Context, queue <-chan due) loadResult {
	r := loadResult{latency: newHistogram()}
	c := &client{address: o.address}
	defer c.close()
	for d := range queue {
		a, err := c.ask(ctx, o.host(d.n))
		r.latency.add(time.Since(d.at))
		loss := ""
		switch {
		case err != nil:
			r.errors++
			loss = err.Error()
		case a.code != 200:
			r.not200++
			loss = fmt.Sprintf("%s answered %v", o.host(d.n), a)
		}
		if r.first == "" {
			r.first = loss
		}
	}
	return r
}

func mergeLoads(results []loadResult) loadResult {
	all := loadResult{latency: newHistogram()}
	for _, r := range results {
		all.latency.merge(r.latency)
		all.not200 += r.not200
		all.errors += r.errors
		if all.first == "" {
			all.first = r.first
		}
	}
	return all
}
