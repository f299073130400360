package routing

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/model"
)

// Input was checked when it was decoded. What is checked here again is what
// makes Envoy refuse the whole table of the host, neighbours included.

// checkMatch returns a problem if Envoy would refuse match.
func checkMatch(by model.Ref, m *model.Match, match *routev3.RouteMatch) *model.Problem {
	for _, r := range regexes(m) {
		if _, err := regexp.Compile(r.pattern); err != nil {
			return invalid(by, r.field, model.ReasonInvalidRegex,
				fmt.Sprintf("the regex %q is not RE2 (%v); what reaches this match gets 500 until it is corrected", r.pattern, err))
		}
	}
	err := match.ValidateAll()
	if err == nil {
		_, err = proto.Marshal(match)
	}
	if err != nil {
		return invalid(by, m.Field, model.ReasonInvalidValue,
			fmt.Sprintf("Envoy would refuse this match (%v); what reaches it gets 500 until it is corrected", err))
	}
	return nil
}

// readable returns a copy of m without the conditions that [checkMatch] refuses.
func readable(by model.Ref, m *model.Match) *model.Match {
	refused := func(one model.Match) bool { return checkMatch(by, &one, routeMatch(&one)) != nil }
	out := *m
	for _, condition := range []struct {
		at  **model.StringMatch
		one model.Match
	}{
		{&out.URI, model.Match{URI: m.URI}},
		{&out.Scheme, model.Match{Scheme: m.Scheme}},
		{&out.Method, model.Match{Method: m.Method}},
		{&out.Authority, model.Match{Authority: m.Authority}},
	} {
		if refused(condition.one) {
			*condition.at = nil
		}
	}
	keep := func(keys []model.KeyMatch, as func([]model.KeyMatch) model.Match) []model.KeyMatch {
		return slices.DeleteFunc(slices.Clone(keys), func(key model.KeyMatch) bool { return refused(as([]model.KeyMatch{key})) })
	}
	out.Headers = keep(m.Headers, func(k []model.KeyMatch) model.Match { return model.Match{Headers: k} })
	out.WithoutHeaders = keep(m.WithoutHeaders, func(k []model.KeyMatch) model.Match { return model.Match{WithoutHeaders: k} })
	out.QueryParams = keep(m.QueryParams, func(k []model.KeyMatch) model.Match { return model.Match{QueryParams: k} })
	return &out
}

// located is a regex and where it stands.
type located struct{ field, pattern string }

// regexes returns the regexes of a match.
func regexes(m *model.Match) []located {
	var out []located
	add := func(field string, s *model.StringMatch) {
		if s != nil && s.Kind == model.MatchRegex {
			out = append(out, located{m.Field + "." + field, s.Value})
		}
	}
	add("uri", m.URI)
	add("scheme", m.Scheme)
	add("method", m.Method)
	add("authority", m.Authority)
	for _, l := range []struct {
		name string
		keys []model.KeyMatch
	}{{"headers", m.Headers}, {"withoutHeaders", m.WithoutHeaders}, {"queryParams", m.QueryParams}} {
		for i := range l.keys {
			add(l.name+"."+l.keys[i].Key, &l.keys[i].StringMatch)
		}
	}
	return out
}

// checkRule returns a problem if the action of rule is one that Envoy refuses
// although its proto is well formed.
func checkRule(by model.Ref, rule *model.HTTPRule) *model.Problem {
	if p := checkHeaders(by, rule.Field, rule.Headers); p != nil {
		return p
	}
	if rule.Redirect != nil || rule.Direct != nil {
		return nil
	}
	if len(rule.Route) == 0 {
		return invalid(by, rule.Field, model.ReasonMissingField,
			"the rule has no action; give it a route, a redirect or a directResponse")
	}
	var total uint64
	for i := range rule.Route {
		d := &rule.Route[i]
		if p := checkHeaders(by, d.Field, d.Headers); p != nil {
			return p
		}
		total += uint64(d.Weight)
	}
	if len(rule.Route) > 1 && (total == 0 || total > math.MaxUint32) {
		return invalid(by, rule.Field+".route", model.ReasonInvalidValue,
			fmt.Sprintf("the weights add up to %d; they must add up to at least 1 and at most %d", total, uint32(math.MaxUint32)))
	}
	if rule.Rewrite != nil && rule.Rewrite.Regex != "" {
		if p := checkRewrite(by, rule.Field+".rewrite.uriRegexRewrite", rule.Rewrite); p != nil {
			return p
		}
	}
	return checkTimes(by, rule)
}

// checkRewrite compiles the regex and checks that the substitution asks for
// groups that exist: "\1" to "\9", "\0" for all, "\\" for a backslash.
func checkRewrite(by model.Ref, field string, rw *model.Rewrite) *model.Problem {
	re, err := regexp.Compile(rw.Regex)
	if err != nil {
		return invalid(by, field+".match", model.ReasonInvalidRegex,
			fmt.Sprintf("the regex %q is not RE2 (%v); correct it", rw.Regex, err))
	}
	s := rw.Substitution
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		if i++; i < len(s) && (s[i] == '\\' || isGroup(s[i], re)) {
			continue
		}
		return invalid(by, field+".rewrite", model.ReasonInvalidValue,
			fmt.Sprintf(`the substitution %q needs behind each backslash one of the %d groups of the regex; write \\ for a backslash`,
				s, re.NumSubexp()))
	}
	return nil
}

// isGroup reports whether digit names a group of re; 0 is the whole match.
func isGroup(digit byte, re *regexp.Regexp) bool {
	return digit >= '0' && digit <= '9' && int(digit-'0') <= re.NumSubexp()
}

func checkTimes(by model.Ref, rule *model.HTTPRule) *model.Problem {
	if p := checkTime(by, rule.Field+".timeout", rule.Timeout); p != nil {
		return p
	}
	if rule.Retries == nil {
		return nil
	}
	if p := checkTime(by, rule.Field+".retries.perTryTimeout", rule.Retries.PerTryTimeout); p != nil {
		return p
	}
	field := rule.Field + ".retries.backoff"
	if b := rule.Retries.Backoff; b != nil && *b == 0 {
		return invalid(by, field, model.ReasonInvalidValue, "the backoff is 0; give it a duration such as 25ms")
	}
	return checkTime(by, field, rule.Retries.Backoff)
}

// longest is the longest duration that is taken. Envoy counts nanoseconds in 64
// bits, and ten times a back-off is still a duration.
const longest = 10 * 365 * 24 * time.Hour

func checkTime(by model.Ref, field string, d *time.Duration) *model.Problem {
	if inRange(d) {
		return nil
	}
	return invalid(by, field, model.ReasonInvalidValue,
		fmt.Sprintf("the duration %s is out of range; give it one from 0s to %s", *d, longest))
}

func inRange(d *time.Duration) bool { return d == nil || (*d >= 0 && *d <= longest) }

// checkRoute is the last net: it returns a problem if out is not a well-formed
// proto. The match of out is not set yet.
func checkRoute(by model.Ref, rule *model.HTTPRule, out *routev3.Route) *model.Problem {
	probe := &routev3.Route{
		Match:                   &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action:                  out.Action,
		RequestHeadersToAdd:     out.RequestHeadersToAdd,
		RequestHeadersToRemove:  out.RequestHeadersToRemove,
		ResponseHeadersToAdd:    out.ResponseHeadersToAdd,
		ResponseHeadersToRemove: out.ResponseHeadersToRemove,
	}
	err := probe.ValidateAll()
	if err == nil {
		_, err = proto.Marshal(probe)
	}
	if err == nil {
		return nil
	}
	return invalid(by, rule.Field, model.ReasonInvalidValue,
		fmt.Sprintf("Envoy would refuse this rule (%v); it answers 500 until it is corrected", err))
}

func invalid(by model.Ref, field string, reason model.Reason, message string) *model.Problem {
	return &model.Problem{
		Object:   by,
		Field:    field,
		Reason:   reason,
		Message:  message,
		Severity: model.SeverityError,
	}
}
