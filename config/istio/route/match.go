package route

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// matches reads the matches of a rule. One with a condition that cannot be read
// keeps the others and has a fault; so has the only one of a list that cannot be
// read at all.
func (r reader) matches(at *strict.Path, in []*networking.HTTPMatchRequest) []model.Match {
	var out []model.Match
	for i, m := range in {
		p := at.Element(i)
		match := r.match(p, m)
		match.Fault = r.matchFault(p, p.Field("name"), p.Field("statPrefix"))
		out = append(out, match)
	}
	if len(in) == 0 {
		if fault := r.matchFault(at); fault != nil {
			out = []model.Match{{Field: at.String(), Fault: fault}}
		}
	}
	return out
}

// matchFault returns why a match, or a list of them, cannot be served as written;
// nil if it can. What is wrong with the parts beside costs nothing.
func (r reader) matchFault(at *strict.Path, beside ...*strict.Path) *model.RuleFault {
	faults := r.Count(at)
	for _, p := range beside {
		faults -= r.Count(p)
	}
	if faults == 0 {
		return nil
	}
	return &model.RuleFault{Reason: cmp.Or(r.Own(at), r.Broken(at), model.ReasonUnknownField)}
}

func (r reader) match(at *strict.Path, in *networking.HTTPMatchRequest) model.Match {
	m := model.Match{
		Field:         at.String(),
		Name:          in.GetName(),
		IgnoreURICase: in.GetIgnoreUriCase(),
		Port:          r.matchPort(at.Field("port"), in.GetPort()),
		URI:           r.condition(at.Field("uri"), in.GetUri()),
		Scheme:        r.property(at.Field("scheme"), in.GetScheme()),
		Method:        r.property(at.Field("method"), in.GetMethod()),
		Authority:     r.property(at.Field("authority"), in.GetAuthority()),
	}
	m.Headers = r.headerConditions(at.Field("headers"), in.GetHeaders())
	m.WithoutHeaders = r.headerConditions(at.Field("withoutHeaders"), in.GetWithoutHeaders())
	m.QueryParams = r.keyConditions(at.Field("queryParams"), in.GetQueryParams(), checkQueryKey)
	m.Gateways, m.MeshOnly = r.matchGateways(at.Field("gateways"), in.GetGateways())
	m.SourceLabels, m.SourceNamespace = r.source(at, in)
	if prefix := in.GetStatPrefix(); !r.Fail(at.Field("statPrefix"), check.HeaderText(prefix)) {
		m.StatPrefix = prefix
	}
	r.checkPossible(at, &m)
	return m
}

// matchPort reads a condition on the port, of any protocol; 0 when there is none
// that can be read.
func (r reader) matchPort(at *strict.Path, port uint32) uint32 {
	if port == 0 || r.Fail(at, check.Port(port)) {
		return 0
	}
	return port
}

// matchGateways reads the gateways of a match, of any protocol: none means all,
// and so does a list that can be read in part only.
func (r reader) matchGateways(at *strict.Path, names []string) (refs []model.GatewayRef, meshOnly bool) {
	refs, inMesh := r.gateways(at, names)
	if r.Any(at) {
		return nil, false
	}
	return refs, inMesh && len(refs) == 0
}

// source reads the conditions on the proxy that routes, of any protocol.
func (r reader) source(at *strict.Path, in interface {
	GetSourceLabels() map[string]string
	GetSourceNamespace() string
},
) (labels map[string]string, namespace string) {
	if namespace = in.GetSourceNamespace(); namespace != "" && !check.IsLabel(namespace) {
		r.Fail(at.Field("sourceNamespace"), strict.Invalid("%s is no namespace; correct it", strict.Quote(namespace)))
		namespace = ""
	}
	return in.GetSourceLabels(), namespace
}

// condition reads a condition on something that every request has; nil when not
// given, or when it cannot be read.
//
// Source: Istio takes an empty prefix for every value.
func (r reader) condition(at *strict.Path, in *networking.StringMatch) *model.StringMatch {
	if in == nil || r.Any(at) {
		return nil
	}
	prefix, isPrefix := in.GetMatchType().(*networking.StringMatch_Prefix)
	switch {
	case in.GetMatchType() == nil:
		r.Warn(at, strict.Missing("the condition is empty and every value meets it; add exact, prefix or regex, or remove it"))
	case !isPrefix || prefix.Prefix != "":
		return r.comparison(at, in)
	}
	return &model.StringMatch{Kind: model.MatchPresent}
}

// comparison reads what something is compared with; nil when that cannot be
// read.
func (r reader) comparison(at *strict.Path, in *networking.StringMatch) *model.StringMatch {
	if in.GetMatchType() == nil {
		r.Fail(at, strict.Missing("the condition is empty; add exact, prefix or regex"))
		return nil
	}
	m, wrong := parseStringMatch(in)
	if wrong == nil && m.Value == "" {
		wrong = strict.Invalid("the value is empty, which nothing is like; write what to compare with, or remove the condition")
	}
	if r.Fail(at.Field(stringMatchField(in)), wrong) {
		return nil
	}
	return &m
}

// property reads a condition on the scheme, method or authority, where Istio
// takes the regex "*" for every value.
func (r reader) property(at *strict.Path, in *networking.StringMatch) *model.StringMatch {
	if in.GetRegex() == "*" && !r.Any(at) {
		return &model.StringMatch{Kind: model.MatchPresent}
	}
	return r.condition(at, in)
}

// headerConditions reads conditions on headers; the keys come back lower-case.
func (r reader) headerConditions(at *strict.Path, in map[string]*networking.StringMatch) []model.KeyMatch {
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
// empty condition, an empty prefix, and the regex "*", ask for the key alone.
func (r reader) keyConditions(at *strict.Path, in map[string]*networking.StringMatch, check func(string) *strict.Finding) []model.KeyMatch {
	var out []model.KeyMatch
	for _, key := range slices.Sorted(maps.Keys(in)) {
		p := at.Entry(key)
		if r.Any(p) || r.Fail(p, check(key)) {
			continue
		}
		condition := in[key]
		if isPresence(condition) {
			out = append(out, model.KeyMatch{Key: key, StringMatch: model.StringMatch{Kind: model.MatchPresent}})
			continue
		}
		m, wrong := parseStringMatch(condition)
		if wrong == nil && m.Value == "" { // of a regex
			wrong = strict.Invalid("the value is empty; write what to compare with, or {} to ask for the key alone")
		}
		if !r.Fail(p.Field(stringMatchField(condition)), wrong) {
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
	case *networking.StringMatch_Prefix:
		return m.Prefix == ""
	case *networking.StringMatch_Regex:
		return m.Regex == "*"
	}
	return false
}

// checkConditionHeader checks the key of a condition on a header, which may be
// one that HTTP/2 writes with a colon.
func checkConditionHeader(name string) *strict.Finding {
	if strings.HasPrefix(name, "@request.auth.") {
		return strict.NotYet("conditions on token claims wait for authentication, which is not supported yet, and what the rest of the match takes is refused; remove it")
	}
	switch strings.ToLower(name) {
	case ":authority", ":method", ":path", ":scheme":
		return nil
	}
	return check.HeaderName(name)
}

func checkQueryKey(name string) *strict.Finding {
	const longest = 1024 // Envoy's limit for the name of a query parameter
	if name == "" || len(name) > longest {
		return strict.Invalid("the name of a query parameter has %d bytes; write 1 to %d", len(name), longest)
	}
	return nil
}

func parseStringMatch(in *networking.StringMatch) (model.StringMatch, *strict.Finding) {
	switch m := in.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return model.StringMatch{Kind: model.MatchExact, Value: m.Exact}, check.HeaderText(m.Exact)
	case *networking.StringMatch_Prefix:
		return model.StringMatch{Kind: model.MatchPrefix, Value: m.Prefix}, check.HeaderText(m.Prefix)
	case *networking.StringMatch_Regex:
		return model.StringMatch{Kind: model.MatchRegex, Value: m.Regex}, check.Regex(m.Regex)
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
