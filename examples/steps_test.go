package examples

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// step is a command of a README and what it should print.
type step struct {
	line    int // in the README, from 1
	command string
	want    []string // lines of output; nil when the README says nothing of it
}

// inFront reports whether the command runs in a terminal of its own until it is
// stopped.
func (s step) inFront() bool { return s.gateway() || strings.HasPrefix(s.command, "bin/authority ") }

// gateway reports whether the command runs Sluice.
func (s step) gateway() bool { return strings.Contains(s.command, " -- bin/sluice run ") }

// settles reports whether the command shows what comes when it does: copies of
// requests that a backend counts, certificates that are being signed.
func (s step) settles() bool {
	return strings.HasSuffix(s.command, "/count") || s.command == "bin/sluice certificates"
}

// parseSteps returns the commands in the sh blocks of a README: lines that
// begin with "$ ", with the lines behind that begin with "# → ". Anything else
// in such a block is an error.
func parseSteps(text string) ([]step, error) {
	var steps []step
	inside := false
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\n")
		command, isCommand := strings.CutPrefix(line, "$ ")
		want, isWant := strings.CutPrefix(line, "# → ")
		switch {
		case !inside:
			inside = line == "```sh"
		case line == "```":
			inside = false
		case isCommand:
			steps = append(steps, step{line: n, command: command})
		case isWant && len(steps) > 0:
			last := &steps[len(steps)-1]
			last.want = append(last.want, want)
		default:
			return nil, fmt.Errorf("line %d: %q is neither a command nor its output", n, line)
		}
	}
	return steps, nil
}

// check compares output with what the README promises: as many lines, each as
// promised, blanks at both ends aside. A promise holds "5–35" for any number
// from 5 to 35 and "…" for any text.
func (s step) check(output string) error {
	if s.want == nil {
		return nil
	}
	got := strings.Split(strings.TrimSpace(output), "\n")
	if len(got) != len(s.want) {
		return fmt.Errorf("%d lines of output, want %d", len(got), len(s.want))
	}
	for i, want := range s.want {
		if !promised(want, strings.TrimSpace(got[i])) {
			return fmt.Errorf("output %q, want %q", strings.TrimSpace(got[i]), want)
		}
	}
	return nil
}

// promised reports whether a line is as promised. Runs of blanks count as one.
func promised(want, got string) bool {
	number := regexp.MustCompile(`([0-9.]+)–([0-9.]+)`)
	pattern := regexp.QuoteMeta(strings.Join(strings.Fields(want), " "))
	pattern = strings.ReplaceAll(pattern, "…", ".*")
	// QuoteMeta puts a backslash before each dot of a number.
	ranges := number.FindAllStringSubmatch(want, -1)
	for _, r := range ranges {
		pattern = strings.Replace(pattern, regexp.QuoteMeta(r[0]), `([0-9.]+)`, 1)
	}
	found := regexp.MustCompile("^" + pattern + "$").FindStringSubmatch(strings.Join(strings.Fields(got), " "))
	if found == nil {
		return false
	}
	for i, r := range ranges {
		low, high, value := parse(r[1]), parse(r[2]), parse(found[i+1])
		if value < low || value > high {
			return false
		}
	}
	return true
}

// parse reads a number; a word of dots alone is 0.
func parse(s string) float64 {
	v, _ := strconv.ParseFloat(s, 64)
	return v
}
