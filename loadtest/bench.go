package loadtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/jedib0t/go-pretty/v6/table"
)

// Bench runs everything in b, one after the other, and writes each result as
// JSON into a folder. A run that fails fails its limits; the others are made
// all the same. The error is about the folder or ctx only.
func Bench(ctx context.Context, place Place, b Budgets, folder string) ([]Verdict, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("make the results folder: %w", err)
	}
	results := map[string]Result{}
	var verdicts []Verdict
	for _, r := range b.Runs {
		_, _ = fmt.Fprintf(place.Log, "== %s\n", r.Name)
		s, err := Find(r.Scenario)
		if err != nil {
			return verdicts, err
		}
		result, err := s.Run(ctx, place, r.Flags)
		if ctx.Err() != nil {
			return verdicts, ctx.Err()
		}
		if err != nil {
			_, _ = fmt.Fprintf(place.Log, "%v\n", err)
			verdicts = append(verdicts, Verdict{Run: r.Name, Measure: "the run itself", Bound: "no error", Missing: true})
		} else {
			results[r.Name] = result
			if err := WriteResult(filepath.Join(folder, r.Name+".json"), result); err != nil {
				return verdicts, err
			}
		}
		verdicts = append(verdicts, r.Judge(results)...)
	}
	return verdicts, nil
}

// WriteResult writes a result as JSON into a file.
func WriteResult(path string, r Result) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// WriteVerdicts writes a table for people and reports whether everything is
// within its limits.
func WriteVerdicts(w io.Writer, verdicts []Verdict) bool {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"run", "measure", "measured", "budget", ""})
	ok := true
	for _, v := range verdicts {
		measured, mark := figure(v.Measured), "ok"
		if v.Missing {
			measured = "-"
		}
		if !v.OK {
			mark, ok = "OVER", false
		}
		t.AppendRow(table.Row{v.Run, v.Measure, measured, v.Bound, mark})
	}
	_, _ = fmt.Fprintln(w, t.Render())
	return ok
}
