package examples

import "testing"

func TestPromised(t *testing.T) {
	for _, c := range []struct {
		want, got string
		ok        bool
	}{
		{"200", "200", true},
		{"200", "2000", false},
		{"200", "503", false},
		{"5–35 a", "      5 a", true},
		{"5–35 a", "36 a", false},
		{"5–35 a", "4 a", false},
		{"5–35 a", "20 b", false},
		{"200 after 2–9 s", "200 after 2.004 s", true},
		{"200 after 1.5–9 s", "200 after 1.4 s", false},
		{"1–2 of 3–4", "2 of 3", true},
		{"1–2 of 3–4", "3 of 2", false},
		{"live after …", "live after 3ms", true},
		{"live after …", "dead after 3ms", false},
		{`"path": "/a.b",`, `"path": "/a.b",`, true},
		{`"path": "/a.b",`, `"path": "/axb",`, false},
	} {
		if got := promised(c.want, c.got); got != c.ok {
			t.Errorf("%q for %q: %v", c.got, c.want, got)
		}
	}
}

func TestParseSteps(t *testing.T) {
	steps, err := parseSteps("# Title\n$ not a step\n```sh\n$ one\n# → a\n# → b\n$ two\n```\n```\n$ nor this\n```\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) != 2 || steps[0].line != 4 || steps[0].command != "one" || len(steps[0].want) != 2 || steps[1].want != nil {
		t.Errorf("steps are %+v", steps)
	}
	if err := steps[0].check("a\nb\n"); err != nil {
		t.Error(err)
	}
	for _, output := range []string{"", "a\n", "b\na\n", "a\nb\nc\n"} {
		if steps[0].check(output) == nil {
			t.Errorf("%q is taken for a and b", output)
		}
	}
	if _, err := parseSteps("```sh\n# → nothing was typed\n```\n"); err == nil {
		t.Error("output without a command is taken")
	}
}
