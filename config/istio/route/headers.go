package route

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// headers reads what a rule or destination does to headers.
func (r reader) headers(at *strict.Path, in *networking.Headers) model.HeaderOperations {
	var out model.HeaderOperations
	if request := in.GetRequest(); request != nil {
		p := at.Field("request")
		set := maps.Clone(request.GetSet())
		out.SetAuthority = r.setAuthority(p.Field("set"), set)
		out.Request = r.headerChanges(p, &networking.Headers_HeaderOperations{
			Set: set, Add: request.GetAdd(), Remove: request.GetRemove(),
		})
	}
	if response := in.GetResponse(); response != nil {
		out.Response = r.headerChanges(at.Field("response"), response)
	}
	return out
}

// setAuthority takes the host out of the headers to set: Envoy has an operation
// of its own for it.
func (r reader) setAuthority(at *strict.Path, set map[string]string) string {
	authority := ""
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if n := strings.ToLower(name); n != "host" && n != ":authority" {
			continue
		}
		p := at.Entry(name)
		if authority != "" {
			r.Fail(p, strict.Invalid("the host is set twice; keep one of host and :authority"))
		}
		authority = set[name]
		r.Fail(p, check.Authority(authority))
		delete(set, name)
	}
	return authority
}

func (r reader) headerChanges(at *strict.Path, in *networking.Headers_HeaderOperations) model.HeaderChanges {
	out := model.HeaderChanges{
		Set: r.headerValues(at.Field("set"), in.GetSet()),
		Add: r.headerValues(at.Field("add"), in.GetAdd()),
	}
	if n := len(out.Set) + len(out.Add); n > check.MaxHeaderChanges {
		r.Fail(at, strict.Invalid("%d headers are set or added; write at most %d", n, check.MaxHeaderChanges))
	}
	remove := at.Field("remove")
	out.Remove = r.Names(remove, in.GetRemove(), func(name string) (string, *strict.Finding) {
		return strings.ToLower(name), checkChangedHeader(name)
	})
	slices.Sort(out.Remove)
	return out
}

// headerValues returns headers with lower-case names, sorted.
func (r reader) headerValues(at *strict.Path, in map[string]string) []model.HeaderValue {
	var out []model.HeaderValue
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		p := at.Entry(name)
		if r.Fail(p, checkChangedHeader(name)) || r.Fail(p, check.HeaderValue(in[name])) {
			continue
		}
		lowered := strings.ToLower(name)
		if seen[lowered] {
			r.Fail(p, strict.Invalid("the header is given twice in different case; keep one of them"))
			continue
		}
		seen[lowered] = true
		out = append(out, model.HeaderValue{Name: lowered, Value: in[name]})
	}
	slices.SortFunc(out, func(a, b model.HeaderValue) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// checkChangedHeader checks the name of a header that a route changes. Envoy
// refuses the host and the names with a colon.
func checkChangedHeader(name string) *strict.Finding {
	if strings.HasPrefix(name, ":") || strings.EqualFold(name, "host") {
		return strict.Invalid("%s cannot be changed here; only headers.request.set may set the host", strict.Quote(name))
	}
	return check.HeaderName(name)
}
