package e2e

import "testing"

// A rule with a selector is for gateways of its namespace that carry all its
// labels, and goes before one that is for everybody.
func TestWorkloadSelectorOfRules(t *testing.T) {
	t.Parallel()
	s := newSigns(t)
	selects := func(labels string) string { return "  workloadSelector: {matchLabels: {" + labels + "}}\n" }
	cases := []struct {
		service string
		rules   []string // by age
		want    string   // the rule in force
		unused  string   // the one that is said to do nothing
	}{
		{"one", []string{s.rule("default", "one", "one.internal", selects("app: edge"))}, "one", ""},
		{"two", []string{s.rule("default", "two", "two.internal", selects("app: edge, tier: front"))}, "two", ""},
		{"anybody", []string{s.rule("default", "anybody", "anybody.internal", "  workloadSelector: {}\n")}, "anybody", ""},
		{"other", []string{s.rule("default", "other", "other.internal", selects("app: other"))}, "", "other"},
		{"half", []string{s.rule("default", "half", "half.internal", selects("app: edge, tier: back"))}, "", "half"},
		{"more", []string{s.rule("default", "more", "more.internal", selects("app: edge, zone: a"))}, "", "more"},
		{"far", []string{s.rule("shop", "far", "far.internal", selects("app: edge"))}, "", "far"},
		{"older", []string{
			s.rule("default", "older1", "older.internal", ""),
			s.rule("default", "older2", "older.internal", selects("app: edge")),
		}, "older2", ""},
		{"younger", []string{
			s.rule("default", "younger1", "younger.internal", selects("app: edge")),
			s.rule("default", "younger2", "younger.internal", ""),
		}, "younger1", ""},
		{"neither", []string{
			s.rule("default", "neither1", "neither.internal", selects("app: other")),
			s.rule("default", "neither2", "neither.internal", ""),
		}, "neither2", "neither1"},
		{"past", []string{
			s.rule("default", "past1", "past.internal", selects("app: other")),
			s.rule("shop", "past2", "past.internal", ""),
		}, "past2", "past1"},
	}
	files := map[string]string{"gateway.yaml": edge("*")}
	for _, c := range cases {
		files[c.service+"/service.yaml"] = s.service(c.service)
		for i, rule := range c.rules {
			files[c.service+"/"+itoa(i)+".yaml"] = rule
		}
	}
	w := newWorld(t, files).run("--labels", "app=edge,tier=front")
	unused := 0
	for _, c := range cases {
		w.inForce(c.service, c.want)
		if c.unused != "" {
			w.problem("NotAttached", c.service+"/", "/"+c.unused+":", "workloadSelector")
			unused++
		}
	}
	if got := w.status().all(); len(got) != unused {
		t.Errorf("there are %d problems, want %d: %v", len(got), unused, got)
	}
	w.write("other/0.yaml", s.rule("default", "other", "other.internal", selects("tier: front")))
	w.inForce("other", "other")
	w.write("one/0.yaml", s.rule("default", "one", "one.internal", selects("tier: back")))
	w.inForce("one", "")
}
