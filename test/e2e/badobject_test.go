package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// badRule is one faulty rule in front of a good one; "# here" marks the line
// of the fault.
type badRule struct {
	name, rule, reason string
	words              []string
	// body is what the faulty rule answers; by default the reason. The code
	// is 500 unless code says otherwise.
	code int
	body string
	// wide is set when nothing of the match can be read: the rule then refuses
	// whatever reaches it.
	wide bool
}

func badMatches() []badRule {
	match := func(lines string) string {
		return "  - match:\n    - uri: {prefix: /bad}\n" + lines + "    directResponse: {status: 200}\n"
	}
	// The request does not go on to the rule behind, which may allow more: what
	// the good conditions of the match take is refused.
	huge := "[^x]{900}[^y]{900}"
	return []badRule{
		{name: "regex", rule: "  - match: [{uri: {regex: '(/bad'}}] # here\n    directResponse: {status: 200}\n", reason: "InvalidRegex", words: []string{"spec.http[0].match[0].uri.regex"}, wide: true},
		{name: "huge regex", rule: match("      headers: {x: {regex: '" + huge + "'}} # here\n"), reason: "InvalidRegex", words: []string{"too large"}},
		{name: "long regex", rule: match("      headers: {x: {regex: '" + strings.Repeat("a", 5000) + "'}} # here\n"), reason: "InvalidRegex"},
		{name: "regex of another dialect", rule: match("      headers: {x: {regex: '(?=a)b'}} # here\n"), reason: "InvalidRegex"},
		{name: "match of a header with a newline", rule: match("      headers: {\"x\\ny\": {exact: a}} # here\n"), reason: "InvalidValue"},
		{name: "match of the wrong type", rule: match("      port: many # here\n"), reason: "WrongType", words: []string{"match[0].port"}},
		{name: "unknown field of a match", rule: match("      uril: {exact: /} # here\n"), reason: "UnknownField", words: []string{"match[0].uril"}},
	}
}

func badActions() []badRule {
	rule := func(lines string) string {
		return "  - match: [{uri: {prefix: /bad}}]\n" + lines
	}
	sent := "    route: [{destination: {host: a.internal}}]\n"
	split := func(a, b string) string {
		return rule("    route:\n    - {destination: {host: a.internal}, weight: " + a + "} # here\n    - {destination: {host: a.internal}, weight: " + b + "}\n")
	}
	headers := func(text string) string {
		return rule("    headers: {request: {set: " + text + "}} # here\n" + sent)
	}
	timeout := func(text string) string { return rule("    timeout: " + text + " # here\n" + sent) }
	return []badRule{
		{name: "header name with a newline", rule: headers(`{"x\ny": v}`), reason: "InvalidValue", words: []string{"headers.request.set"}},
		{name: "header name with CRLF", rule: headers(`{"x\r\nevil: 1": v}`), reason: "InvalidValue"},
		{name: "empty header name", rule: headers(`{"": v}`), reason: "InvalidValue"},
		{name: "header value with a newline", rule: headers(`{x: "a\r\nevil: 1"}`), reason: "InvalidValue"},
		{name: "header value of a command", rule: headers(`{x: "%NOPE(1)%"}`), reason: "InvalidValue"},
		{name: "negative weight", rule: split("-1", "2"), reason: "InvalidValue", words: []string{"route[0].weight", "-1"}},
		{name: "overflowing weight", rule: split("99999999999", "2"), reason: "InvalidValue", words: []string{"route[0].weight", "99999999999"}},
		{name: "weight of the wrong type", rule: split("heavy", "2"), reason: "WrongType", words: []string{"route[0].weight"}},
		{name: "weights that sum to 0", rule: strings.Replace(strings.Replace(split("0", "0"), " # here", "", 1), "route:", "route: # here", 1), reason: "InvalidValue", words: []string{"spec.http[0].route", "0"}},
		{name: "weights that overflow together", rule: strings.Replace(strings.Replace(split("2147483647", "2147483647"), " # here", "", 1), "route:", "route: # here", 1) +
			"    - {destination: {host: a.internal}, weight: 2147483647}\n", reason: "InvalidValue", words: []string{"6442450941"}},
		{name: "negative duration", rule: timeout("-1s"), reason: "InvalidValue", words: []string{"timeout", "-1s"}},
		{name: "overflowing duration", rule: timeout("99999999999999h"), reason: "InvalidValue", words: []string{"timeout"}},
		{name: "century", rule: timeout("900000h"), reason: "InvalidValue", words: []string{"timeout"}},
		{name: "duration without a unit", rule: timeout("'5'"), reason: "InvalidValue", words: []string{"timeout"}},
		{name: "duration of the wrong type", rule: timeout("5"), reason: "WrongType", words: []string{"timeout"}},
		{name: "negative retries", rule: rule("    retries: {attempts: -1} # here\n" + sent), reason: "InvalidValue", words: []string{"attempts"}},
		{name: "port of a destination", rule: rule("    route: [{destination: {host: a.internal, port: {number: 65536}}}] # here\n"), reason: "InvalidValue", words: []string{"65536"}},
		{name: "unknown field", rule: rule("    rout: [] # here\n" + sent), reason: "UnknownField", words: []string{"spec.http[0].rout"}, code: 200, body: "a bad.test /bad"},
		{name: "status 99", rule: rule("    directResponse: {status: 99} # here\n"), reason: "InvalidValue", words: []string{"99"}},
		{name: "redirect code 200", rule: rule("    redirect: {redirectCode: 200} # here\n"), reason: "InvalidValue", words: []string{"200"}},
		{name: "no action", rule: "  - match: [{uri: {prefix: /bad}}] # here\n", reason: "MissingField"},
		{name: "missing destination", rule: rule("    route: [{destination: {host: lost.internal}}] # here\n"), reason: "DestinationMissing", words: []string{"lost.internal"}, code: 503, body: "DestinationMissing"},
		{name: "missing port", rule: rule("    route: [{destination: {host: a.internal, port: {number: 81}}}] # here\n"), reason: "PortMissing", words: []string{"81"}, code: 503, body: "PortMissing"},
		{name: "missing subset", rule: rule("    route: [{destination: {host: a.internal, subset: v9}}] # here\n"), reason: "SubsetMissing", words: []string{"v9"}, code: 503, body: "SubsetMissing"},
		{name: "delegate to itself", rule: rule("    delegate: {name: bad} # here\n"), reason: "DelegateMissing", words: []string{"spec.http[0].delegate", "default/bad"}},
		{name: "missing delegate", rule: rule("    delegate: {name: lost} # here\n"), reason: "DelegateMissing", words: []string{"default/lost"}},
	}
}

// A faulty rule answers with its reason, or lets the rule behind it answer when
// its match is at fault; the other rules of its host, and the neighbour, serve.
func TestBadRules(t *testing.T) {
	t.Parallel()
	for _, above := range []string{"0", "256"} {
		w := newWorld(t, withNeighbour(t, map[string]string{
			"gateway.yaml": edge("*"),
			"service.yaml": service("a.internal", backend(t, "a")),
		})).run("--scoped-above", above)
		neighbour := w.neighbour()
		for _, c := range append(badMatches(), badActions()...) {
			t.Run(c.name+" above "+above, func(t *testing.T) { c.check(w.in(t)) })
		}
		neighbour.unharmed()
		w.stop(15)
	}
}

func (c badRule) check(w *world) {
	text := routes("bad", "bad.test", c.rule+to("a.internal"))
	w.write("bad.yaml", text)
	at := fmt.Sprintf("%s:%d:", filepath.Join(w.dir, "bad.yaml"), lineOf(text, "# here"))
	w.problem(c.reason, append(c.words, at, "VirtualService default/bad")...)
	if c.code == 0 {
		c.code = http.StatusInternalServerError
	}
	if c.body == "" {
		c.body = c.reason
	}
	w.answers("bad.test", "/bad", c.code, c.body)
	lines := 1
	if c.wide {
		lines = 2 // the rule behind takes nothing
		w.answersNow("bad.test", "/good", c.code, c.body)
	} else {
		w.answersNow("bad.test", "/good", http.StatusOK, "a bad.test /good")
	}
	// Exactly this is what validate says too.
	if code, out := w.sluice("validate", w.dir); code != 1 || !containsAll(out, append(c.words, at)) || strings.Count(out, "\n") != lines {
		w.t.Errorf("sluice validate: exit %d:\n%s", code, out)
	}
	w.remove("bad.yaml")
	w.answers("bad.test", "/good", http.StatusNotFound, "")
	w.flawless()
}

// RE2 needs time in proportion to the text, whatever the expression.
func TestCatastrophicRegex(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"),
		"service.yaml": service("a.internal", backend(t, "a")),
		"routes.yaml": routes("slow", "slow.test",
			"  - match: [{uri: {regex: '/((a+)+)+x'}}]\n    directResponse: {status: 418}\n"+to("a.internal")),
	})).run()
	defer w.neighbour().unharmed()
	path := "/" + strings.Repeat("a", 20_000)
	w.answers("slow.test", path+"x", http.StatusTeapot, "")
	w.answersNow("slow.test", path+"y", http.StatusOK, "a slow.test")
	w.flawless()
}
