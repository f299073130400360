package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "budgets.yaml")
	if err := os.WriteFile(bad, []byte("runs: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		fail string // part of the error, "" for none
		out  string // part of the output
	}{
		{"--help", "", "edit-under-load"},
		{"edit --help", "", "--scoped-above"},
		{"edit here", `unexpected argument "here"`, ""},
		{"edit --hosts 0 --services 1", "services is 1", ""},
		{"edit --sluice /no/such/sluice --hosts 2 --edits 1", "start /no/such/sluice", ""},
		{"bench --budgets /no/such/file", "read budgets", ""},
		{"bench --budgets " + bad, "no runs", ""},
		{"bench --budgets ../../budgets.yaml --only nothing", `no run "nothing"`, ""},
	} {
		t.Run(c.args, func(t *testing.T) {
			var out bytes.Buffer
			a := app()
			a.Writer, a.ErrWriter = &out, &out
			err := a.RunContext(t.Context(), append([]string{"sluice-loadtest"}, strings.Fields(c.args)...))
			if (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
				t.Errorf("error is %v, want %q", err, c.fail)
			}
			if !strings.Contains(out.String(), c.out) {
				t.Errorf("output lacks %q:\n%s", c.out, out.String())
			}
		})
	}
}
