package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/sluicegw/sluice/compile"
	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/status"
	"github.com/sluicegw/sluice/tls"
	"github.com/sluicegw/sluice/xds"
)

// pipeline carries steps from the source through the compiler to the proxies:
// one goroutine, no queue of its own. What arrives while a change is compiled
// and published is taken together in the next.
type pipeline struct {
	compiler *compile.Compiler
	store    *xds.Store
	board    *status.Board
	log      *slog.Logger
	metrics  *pipelineMetrics
	// onSettings is told the settings in force after every change.
	onSettings func(model.Settings)
	// refused has a token when the proxies' refusals changed.
	refused chan struct{}
	// asks are calls of settle.
	asks chan chan status.Generation
	// mail brings what resources depend on beside objects.
	mail *mailbox
	// pairs know when certificates begin and end; onPairs is told what changed.
	pairs   *pairs
	onPairs func(map[model.Credential]*tls.Certificate)
	// onWants is told what the compiler wants to know, and the generation that
	// answers for it.
	onWants func(compile.Wants, status.Generation)
	wants   *compile.Wants                         // as told
	latest  status.Generation                      // as published
	seen    map[model.ResourceName]compile.Refusal // taken to the compiler
	mark    uint64                                 // of the endpoints that the release timer runs for; 0 when it does not
	// verify compares now and then with a compilation from scratch.
	verify bool
	taken  int
}

// lingerTime is how long an endpoint that left drains before it is taken away.
//
// Source: measured on Envoy 1.40, draining 150 ms before the removal loses no
// request.
const lingerTime = 500 * time.Millisecond

// verifyEvery is how many changes go by between two verifications.
const verifyEvery = 50

// run takes steps until ctx ends. Nothing is published before the source has
// shown all it has.
func (p *pipeline) run(ctx context.Context, steps <-chan config.Step) error {
	var batch []config.Step
	release := time.NewTimer(time.Hour)
	defer release.Stop()
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	for {
		if at := p.pairs.due(); !at.IsZero() {
			due.Reset(time.Until(at))
		}
		if mark, any := p.compiler.Lingers(); any && p.mark == 0 {
			p.mark = mark
			release.Reset(lingerTime)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-release.C:
			p.release()
			continue
		case <-p.refused:
			p.refuse()
			continue
		case <-p.mail.wake:
			p.learn(p.mail.take())
			continue
		case answer := <-p.asks:
			p.refuse()
			p.learn(p.mail.take())
			answer <- p.latest
			continue
		case <-due.C:
			p.learn([]compile.Facts{p.pairs.judge(time.Now())})
			continue
		case s := <-steps:
			batch = append(batch, s)
		}
		batch = drain(batch, steps)
		if !batch[len(batch)-1].Synced {
			continue
		}
		p.take(batch)
		batch = nil
	}
}

// settle returns the generation that holds all that the pipeline was given
// before the call: steps, facts, refusals.
func (p *pipeline) settle(ctx context.Context) (status.Generation, error) {
	answer := make(chan status.Generation, 1)
	select {
	case p.asks <- answer:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	select {
	case g := <-answer:
		return g, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// drain adds what is there already.
func drain(batch []config.Step, steps <-chan config.Step) []config.Step {
	for {
		select {
		case s := <-steps:
			batch = append(batch, s)
		default:
			return batch
		}
	}
}

// take compiles and publishes some steps as one generation.
func (p *pipeline) take(batch []config.Step) {
	start := time.Now()
	res := p.compiler.Apply(batch...)
	p.onPairs(res.Pairs)
	compiled := time.Now()
	p.board.Report(append(res.Reports, model.Report{By: "source", Problems: batch[len(batch)-1].Problems})...)
	gen := p.store.Publish(res.Change)
	p.latest = status.Generation(gen)
	p.board.Publish(changeOf(p.latest, batch))
	p.follow()
	p.metrics.observe(compiled.Sub(start), res)
	p.onSettings(p.compiler.Settings())
	p.log.Debug("published", "generation", gen, "upserts", len(res.Change.Upserts), "removals", len(res.Change.Removals),
		"compiled", compiled.Sub(start), "published", time.Since(compiled))
	p.taken++
	if p.verify && p.taken%verifyEvery == 1 {
		if err := p.compiler.Verify(); err != nil {
			p.log.Error("incremental result is wrong; please report it", "error", err)
		}
	}
}

// learn compiles and publishes facts as one generation. Before the first objects
// they are only kept.
func (p *pipeline) learn(facts []compile.Facts) {
	if len(facts) == 0 {
		return
	}
	start := time.Now()
	res := p.compiler.Learn(facts...)
	p.onPairs(res.Pairs)
	if p.taken == 0 {
		return
	}
	p.board.Report(res.Reports...)
	p.metrics.observe(time.Since(start), res)
	if !res.Change.Empty() {
		p.latest = status.Generation(p.store.Publish(res.Change))
		p.board.Publish(status.Change{Generation: p.latest, At: start})
	}
	p.follow()
}

// follow passes on what the compiler wants to know now.
func (p *pipeline) follow() {
	if w := p.compiler.Wants(); w != p.wants {
		p.wants = w
		p.onWants(*w, p.latest)
	}
}

// release takes away the endpoints that have drained.
func (p *pipeline) release() {
	change := p.compiler.Release(p.mark)
	p.mark = 0
	if !change.Empty() {
		gen := p.store.Publish(change)
		p.board.Publish(status.Change{Generation: status.Generation(gen), At: time.Now()})
	}
}

// tell wakes the pipeline for refusals; it never blocks.
func (p *pipeline) tell() {
	select {
	case p.refused <- struct{}{}:
	default:
	}
}

// refuse takes what the proxies refuse, and cannot fall back from, to the
// compiler, and publishes what it makes of it.
func (p *pipeline) refuse() {
	if p.taken == 0 {
		return
	}
	news := map[model.ResourceName]compile.Refusal{}
	for _, proxy := range p.store.Proxies() {
		for _, r := range proxy.Rejections {
			ref := compile.Refusal{Hash: r.Hash, Detail: r.Detail}
			stuck := r.Serving == 0 || r.Resource.Type == model.TypeRoute && !strings.Contains(r.Resource.Name, "/")
			if stuck && !r.Bind && p.seen[r.Resource] != ref {
				news[r.Resource], p.seen[r.Resource] = ref, ref
			}
		}
	}
	if len(news) == 0 {
		return
	}
	res := p.compiler.Refuse(news)
	p.board.Report(res.Reports...)
	p.latest = status.Generation(p.store.Publish(res.Change))
	p.board.Publish(status.Change{Generation: p.latest, At: time.Now()})
}

// changeOf sums up the objects of some steps; the last word on each counts.
func changeOf(gen status.Generation, batch []config.Step) status.Change {
	c := status.Change{Generation: gen, At: batch[0].At}
	last := map[model.Ref]*status.Declared{}
	for _, s := range batch {
		for i := range s.Upserts {
			o := &s.Upserts[i]
			last[o.Ref] = &status.Declared{Ref: o.Ref, Hash: xxhash.Sum64(o.JSON)}
		}
		for _, ref := range s.Removals {
			last[ref] = nil
		}
	}
	for ref, d := range last {
		if d == nil {
			c.Removals = append(c.Removals, ref)
		} else {
			c.Objects = append(c.Objects, *d)
		}
	}
	return c
}

func liveMessage(l status.Live) string {
	return fmt.Sprintf("%d of %d proxies", l.Proxies, l.Proxies)
}
