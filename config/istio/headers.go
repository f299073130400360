package istio

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/model"
)

// headers reads what a rule or destination does to headers.
func (r *reader) headers(at *path, in *networking.Headers) model.HeaderOperations {
	var out model.HeaderOperations
	if request := in.GetRequest(); request != nil {
		p := at.field("request")
		set := maps.Clone(request.GetSet())
		out.SetAuthority = r.setAuthority(p.field("set"), set)
		out.Request = r.headerChanges(p, &networking.Headers_HeaderOperations{
			Set: set, Add: request.GetAdd(), Remove: request.GetRemove(),
		})
	}
	if response := in.GetResponse(); response != nil {
		out.Response = r.headerChanges(at.field("response"), response)
	}
	return out
}

// setAuthority takes the host out of the headers to set: Envoy has an operation
// of its own for it.
func (r *reader) setAuthority(at *path, set map[string]string) string {
	authority := ""
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if n := strings.ToLower(name); n != "host" && n != ":authority" {
			continue
		}
		p := at.entry(name)
		if authority != "" {
			r.fail(p, invalid("the host is set twice; keep one of host and :authority"))
		}
		authority = set[name]
		r.fail(p, checkAuthority(authority))
		delete(set, name)
	}
	return authority
}

func (r *reader) headerChanges(at *path, in *networking.Headers_HeaderOperations) model.HeaderChanges {
	out := model.HeaderChanges{
		Set: r.headerValues(at.field("set"), in.GetSet()),
		Add: r.headerValues(at.field("add"), in.GetAdd()),
	}
	if n := len(out.Set) + len(out.Add); n > maxHeaderChanges {
		r.fail(at, invalid("%d headers are set or added; write at most %d", n, maxHeaderChanges))
	}
	remove := at.field("remove")
	out.Remove = r.names(remove, in.GetRemove(), func(name string) (string, *finding) {
		return strings.ToLower(name), checkChangedHeader(name)
	})
	slices.Sort(out.Remove)
	return out
}

// headerValues returns headers with lower-case names, sorted.
func (r *reader) headerValues(at *path, in map[string]string) []model.HeaderValue {
	var out []model.HeaderValue
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		p := at.entry(name)
		if r.fail(p, checkChangedHeader(name)) || r.fail(p, checkHeaderValue(in[name])) {
			continue
		}
		lowered := strings.ToLower(name)
		if seen[lowered] {
			r.fail(p, invalid("the header is given twice in different case; keep one of them"))
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
func checkChangedHeader(name string) *finding {
	if strings.HasPrefix(name, ":") || strings.EqualFold(name, "host") {
		return invalid("%s cannot be changed here; only headers.request.set may set the host", quote(name))
	}
	return checkHeaderName(name)
}
