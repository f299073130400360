package istio

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/model"
)

// matches reads the matches of a rule into it. A match with any fault is left
// out; when that leaves none of those written, the rule takes no request.
func (r *reader) matches(at *path, in []*networking.HTTPMatchRequest, rule *model.HTTPRule) {
	for i, m := range in {
		p := at.element(i)
		match := r.match(p, m)
		if !r.any(p) {
			rule.Matches = append(rule.Matches, match)
		}
	}
	rule.Unmatchable = len(rule.Matches) == 0 && (len(in) > 0 || r.any(at))
}

func (r *reader) match(at *path, in *networking.HTTPMatchRequest) model.Match {
	m := model.Match{
		Field:         at.String(),
		Name:          in.GetName(),
		IgnoreURICase: in.GetIgnoreUriCase(),
		Port:          in.GetPort(),
		URI:           r.condition(at.field("uri"), in.GetUri()),
		Scheme:        r.condition(at.field("scheme"), in.GetScheme()),
		Method:        r.condition(at.field("method"), in.GetMethod()),
		Authority:     r.condition(at.field("authority"), in.GetAuthority()),
	}
	m.Headers = r.headerConditions(at.field("headers"), in.GetHeaders())
	m.WithoutHeaders = r.headerConditions(at.field("withoutHeaders"), in.GetWithoutHeaders())
	m.QueryParams = r.keyConditions(at.field("queryParams"), in.GetQueryParams(), checkQueryKey)
	if in.GetPort() != 0 {
		r.fail(at.field("port"), checkPort(in.GetPort()))
	}
	var inMesh bool
	m.Gateways, inMesh = r.gateways(at.field("gateways"), in.GetGateways())
	m.MeshOnly = inMesh && len(m.Gateways) == 0
	if in.GetStatPrefix() != "" {
		r.note(at.field("statPrefix"), notYet("statPrefix is not supported yet and it has no effect; remove it"))
	}
	r.checkURI(at.field("uri"), m.URI)
	return m
}

// checkURI warns of conditions on the path that no request can meet.
func (r *reader) checkURI(at *path, uri *model.StringMatch) {
	if uri == nil || uri.Kind == model.MatchRegex || r.any(at) {
		return
	}
	if !strings.HasPrefix(uri.Value, "/") && uri.Value != "*" {
		r.warn(at, invalid("%s does not start with a slash, no path of a request is like it; add the slash", quote(uri.Value)))
	} else if strings.ContainsAny(uri.Value, "?#") {
		r.warn(at, invalid("%s holds more than a path, which alone is compared; move the query to queryParams", quote(uri.Value)))
	}
}

// condition reads a condition on something that every request has; nil when not
// given.
func (r *reader) condition(at *path, in *networking.StringMatch) *model.StringMatch {
	if in == nil || r.any(at) {
		return nil
	}
	m, wrong := parseStringMatch(in)
	switch {
	case wrong != nil:
		r.fail(at.field(stringMatchField(in)), wrong)
	case in.GetMatchType() == nil:
		r.fail(at, missing("the condition is empty; add exact, prefix or regex"))
	case m.Value == "":
		r.fail(at.field(stringMatchField(in)), invalid("the value is empty; write what to compare with, or remove the condition"))
	}
	return &m
}

// headerConditions reads conditions on headers; the keys come back lower-case.
func (r *reader) headerConditions(at *path, in map[string]*networking.StringMatch) []model.KeyMatch {
	conditions := r.keyConditions(at, in, checkConditionHeader)
	for i := range conditions {
		conditions[i].Key = strings.ToLower(conditions[i].Key)
	}
	slices.SortFunc(conditions, func(a, b model.KeyMatch) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Value, b.Value))
	})
	return conditions
}

// keyConditions reads conditions on the values behind keys, sorted by key. An
// empty condition, and the regex "*", ask for the key alone.
func (r *reader) keyConditions(at *path, in map[string]*networking.StringMatch, check func(string) *finding) []model.KeyMatch {
	var out []model.KeyMatch
	for _, key := range slices.Sorted(maps.Keys(in)) {
		p := at.entry(key)
		if r.any(p) || r.fail(p, check(key)) {
			continue
		}
		condition := in[key]
		if isPresence(condition) {
			out = append(out, model.KeyMatch{Key: key, StringMatch: model.StringMatch{Kind: model.MatchPresent}})
			continue
		}
		m, wrong := parseStringMatch(condition)
		if wrong == nil && m.Value == "" {
			wrong = invalid("the value is empty; write what to compare with, or {} to ask for the key alone")
		}
		if !r.fail(p.field(stringMatchField(condition)), wrong) {
			out = append(out, model.KeyMatch{Key: key, StringMatch: m})
		}
	}
	return out
}

func isPresence(in *networking.StringMatch) bool {
	switch m := in.GetMatchType().(type) {
	case nil:
		return true
	case *networking.StringMatch_Exact:
		return m.Exact == ""
	case *networking.StringMatch_Regex:
		return m.Regex == "*"
	}
	return false
}

// checkConditionHeader checks the key of a condition on a header, which may be
// one that HTTP/2 writes with a colon.
func checkConditionHeader(name string) *finding {
	if strings.HasPrefix(name, "@request.auth.") {
		return notYet("conditions on token claims are not supported yet and the match is left out; remove it")
	}
	switch strings.ToLower(name) {
	case ":authority", ":method", ":path", ":scheme":
		return nil
	}
	return checkHeaderName(name)
}

func checkQueryKey(name string) *finding {
	const longest = 1024 // Envoy's limit for the name of a query parameter
	if name == "" || len(name) > longest {
		return invalid("the name of a query parameter has %d bytes; write 1 to %d", len(name), longest)
	}
	return nil
}

func parseStringMatch(in *networking.StringMatch) (model.StringMatch, *finding) {
	switch m := in.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return model.StringMatch{Kind: model.MatchExact, Value: m.Exact}, checkHeaderText(m.Exact)
	case *networking.StringMatch_Prefix:
		return model.StringMatch{Kind: model.MatchPrefix, Value: m.Prefix}, checkHeaderText(m.Prefix)
	case *networking.StringMatch_Regex:
		return model.StringMatch{Kind: model.MatchRegex, Value: m.Regex}, checkRegex(m.Regex)
	}
	return model.StringMatch{}, nil
}

// stringMatchField returns the name of the field that is set.
func stringMatchField(in *networking.StringMatch) string {
	switch in.GetMatchType().(type) {
	case *networking.StringMatch_Prefix:
		return "prefix"
	case *networking.StringMatch_Regex:
		return "regex"
	}
	return "exact"
}
