package loadtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Budgets is what budgets.yaml says: which runs to make, and what each may cost.
type Budgets struct {
	Runs []BudgetRun `yaml:"runs"`
}

// BudgetRun is one run of a scenario and its limits.
type BudgetRun struct {
	Name     string  `yaml:"name"`
	Scenario string  `yaml:"scenario"`
	Flags    Options `yaml:"flags"`
	Limits   []Limit `yaml:"limits"`
}

// Limit bounds one measure of a run. Exactly one of Max and Min is given.
type Limit struct {
	Measure string   `yaml:"measure"`
	Max     *float64 `yaml:"max"`
	Min     *float64 `yaml:"min"`
	// Times names an earlier run: the limit is then a multiple of the same
	// measure there.
	Times string `yaml:"times"`
	// Why is where the limit comes from, for whoever breaks it.
	Why string `yaml:"why"`
}

// Verdict is a limit held against what was measured.
type Verdict struct {
	Run      string
	Measure  string
	Measured float64
	Bound    string // "≤ 25" or "≥ 0.95"
	OK       bool
	Missing  bool // the run has no such measure
}

// ParseBudgets reads and checks budgets.yaml. Unknown fields are errors.
func ParseBudgets(text []byte) (Budgets, error) {
	var b Budgets
	in := yaml.NewDecoder(bytes.NewReader(text))
	in.KnownFields(true)
	if err := in.Decode(&b); err != nil && !errors.Is(err, io.EOF) {
		return b, fmt.Errorf("parse budgets: %w", err)
	}
	if len(b.Runs) == 0 {
		return b, errors.New("parse budgets: no runs")
	}
	for i, r := range b.Runs {
		if err := b.checkRun(i, r); err != nil {
			return b, fmt.Errorf("parse budgets: run %d (%s): %w", i, r.Name, err)
		}
	}
	return b, nil
}

// checkRun checks the i-th run against those before it.
func (b Budgets) checkRun(i int, r BudgetRun) error {
	earlier := func(name string) bool {
		return slices.ContainsFunc(b.Runs[:i], func(e BudgetRun) bool { return e.Name == name })
	}
	s, err := Find(r.Scenario)
	if err != nil {
		return err
	}
	if err := r.Flags.or(s.Default).check(); err != nil {
		return err
	}
	if r.Name == "" || earlier(r.Name) {
		return errors.New("the name is empty or taken")
	}
	for _, l := range r.Limits {
		switch {
		case l.Measure == "":
			return errors.New("a limit names no measure")
		case (l.Max == nil) == (l.Min == nil):
			return fmt.Errorf("limit of %s: give max or min", l.Measure)
		case l.Times != "" && !earlier(l.Times):
			return fmt.Errorf("limit of %s: no earlier run %q", l.Measure, l.Times)
		}
	}
	return nil
}

// Judge holds the results, by name of run, against the limits of one run.
func (r BudgetRun) Judge(results map[string]Result) []Verdict {
	var out []Verdict
	for _, l := range r.Limits {
		v := Verdict{Run: r.Name, Measure: l.Measure}
		measured, ok := results[r.Name].Measures[l.Measure]
		factor := 1.0
		if l.Times != "" {
			base, has := results[l.Times].Measures[l.Measure]
			factor, ok = base, ok && has
		}
		v.Measured, v.Missing = measured, !ok
		if l.Max != nil {
			bound := *l.Max * factor
			v.Bound, v.OK = "≤ "+figure(bound), ok && measured <= bound
		} else {
			bound := *l.Min * factor
			v.Bound, v.OK = "≥ "+figure(bound), ok && measured >= bound
		}
		out = append(out, v)
	}
	return out
}

// figure writes a number with as many decimals as it deserves.
func figure(v float64) string {
	switch {
	case v == float64(int64(v)):
		return fmt.Sprintf("%d", int64(v))
	case v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// Only returns the named runs, in the order of b. A run whose limits are
// multiples of another's needs that one among the names too.
func (b Budgets) Only(names []string) (Budgets, error) {
	var out Budgets
	for _, name := range names {
		if !slices.ContainsFunc(b.Runs, func(r BudgetRun) bool { return r.Name == name }) {
			return out, fmt.Errorf("the budgets have no run %q", name)
		}
	}
	for _, r := range b.Runs {
		if slices.Contains(names, r.Name) {
			out.Runs = append(out.Runs, r)
		}
	}
	return out, nil
}
