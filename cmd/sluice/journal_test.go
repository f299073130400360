package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/status"
)

func TestJournalIsShort(t *testing.T) {
	var log bytes.Buffer
	j := journal{
		log:    slog.New(newTextHandler(&log, slog.LevelInfo, false)),
		locate: func(model.Ref, string) model.Place { return model.Place{File: "f.yaml", Line: 7} },
	}
	var many []model.Problem
	for i := range logLimit + 5 {
		many = append(many, model.Problem{Object: model.Ref{Kind: "Gateway", Name: fmt.Sprint(i)}, Severity: model.SeverityWarning, Reason: model.ReasonExtension})
	}
	many = append(many, model.Problem{Severity: model.SeverityNote}, model.Problem{Severity: model.SeverityNote})
	for name, c := range map[string]struct {
		news  status.News
		lines int
		words []string
	}{
		"nothing": {status.News{}, 0, nil},
		"notes":   {status.News{Came: many[len(many)-2:], Gone: many[len(many)-1:]}, 0, nil},
		"few":     {status.News{Came: many[:2]}, 2, []string{"warning", "f.yaml:7", "Gateway"}},
		"many":    {status.News{Came: many, Gone: many}, 2*logLimit + 2, []string{"count=5", "gone"}},
	} {
		log.Reset()
		j.write(c.news)
		if got := strings.Count(log.String(), "\n"); got != c.lines {
			t.Errorf("%s: %d lines, want %d:\n%s", name, got, c.lines, log.String())
		}
		for _, w := range c.words {
			if !strings.Contains(log.String(), w) {
				t.Errorf("%s: no word of %q:\n%s", name, w, log.String())
			}
		}
	}
}
