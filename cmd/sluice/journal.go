package main

import (
	"context"
	"log/slog"
	"slices"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/status"
)

// journal logs problems once when they come and once when they go, beside the
// pipeline, so that no edit waits for it.
type journal struct {
	board  *status.Board
	locate func(obj model.Ref, field string) model.Place
	log    *slog.Logger
}

// run logs until ctx ends, and then what is left.
func (j journal) run(ctx context.Context) error {
	for {
		changed := j.board.Changed()
		j.write(j.board.News())
		select {
		case <-changed:
		case <-ctx.Done():
			j.write(j.board.News())
			return nil
		}
	}
}

// logLimit bounds how many problems are logged one by one at a time.
const logLimit = 20

func (j journal) write(n status.News) {
	shown, more := first(n.Came)
	for _, p := range shown {
		if p.Place == (model.Place{}) {
			p.Place = j.locate(p.Object, p.Field)
		}
		j.log.Warn("problem", "reason", p.Reason, "detail", problemLine(p))
	}
	if more > 0 {
		j.log.Warn("more problems; see sluice status", "count", more)
	}
	shown, more = first(n.Gone)
	for _, p := range shown {
		p.Place.Line = 0 // it has moved, or is gone
		j.log.Info("problem is gone", "reason", p.Reason, "detail", problemLine(p))
	}
	if more > 0 {
		j.log.Info("more problems are gone", "count", more)
	}
}

// first returns as many problems as are logged one by one, and how many are left.
// Notes are in the status only; they are the last.
func first(problems []model.Problem) (shown []model.Problem, more int) {
	n := slices.IndexFunc(problems, func(p model.Problem) bool { return p.Severity == model.SeverityNote })
	if n < 0 {
		n = len(problems)
	}
	m := min(n, logLimit)
	return problems[:m], n - m
}
