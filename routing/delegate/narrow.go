package delegate

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/model"
)

// narrowed returns the match for requests that fit both root and child. When
// child asks for something that is not within what root asks for, it returns the
// word for that instead: "uri", "headers.x-a".
func narrowed(root, child *model.Match) (model.Match, string) {
	if field := conflict(root, child); field != "" {
		return model.Match{}, field
	}
	out := *child
	out.Name = joined(root.Name, child.Name)
	if out.URI == nil {
		out.URI, out.IgnoreURICase = root.URI, root.IgnoreURICase
	}
	out.Scheme = cmp.Or(out.Scheme, root.Scheme)
	out.Method = cmp.Or(out.Method, root.Method)
	out.Authority = cmp.Or(out.Authority, root.Authority)
	out.Headers = override(root.Headers, child.Headers)
	out.QueryParams = override(root.QueryParams, child.QueryParams)
	// What may not be there: both count, which no child can widen.
	out.WithoutHeaders = byKey(append(slices.Clone(root.WithoutHeaders), child.WithoutHeaders...))
	out.Port = cmp.Or(out.Port, root.Port)
	if len(out.Gateways) == 0 && !out.MeshOnly {
		out.Gateways, out.MeshOnly = root.Gateways, root.MeshOnly
	}
	if len(root.SourceLabels) > 0 {
		out.SourceLabels = maps.Clone(root.SourceLabels)
		maps.Copy(out.SourceLabels, child.SourceLabels)
	}
	out.SourceNamespace = cmp.Or(out.SourceNamespace, root.SourceNamespace)
	out.StatPrefix = cmp.Or(out.StatPrefix, root.StatPrefix)
	return out, ""
}

// conflict returns what of child is not within root, "" if all is.
func conflict(root, child *model.Match) string {
	for _, c := range []struct {
		field       string
		root, child *model.StringMatch
	}{
		{"uri", root.URI, child.URI},
		{"scheme", root.Scheme, child.Scheme},
		{"method", root.Method, child.Method},
		{"authority", root.Authority, child.Authority},
	} {
		if !within(c.root, c.child) {
			return c.field
		}
	}
	if root.URI != nil && child.URI != nil && root.IgnoreURICase != child.IgnoreURICase {
		return "ignoreUriCase"
	}
	if key := outside(root.Headers, child.Headers); key != "" {
		return "headers." + key
	}
	if key := outside(root.QueryParams, child.QueryParams); key != "" {
		return "queryParams." + key
	}
	return sourceConflict(root, child)
}

// sourceConflict is the part of conflict about where a request enters.
func sourceConflict(root, child *model.Match) string {
	if root.Port != 0 && child.Port != 0 && root.Port != child.Port {
		return "port"
	}
	if root.SourceNamespace != "" && child.SourceNamespace != "" && root.SourceNamespace != child.SourceNamespace {
		return "sourceNamespace"
	}
	for _, key := range slices.Sorted(maps.Keys(child.SourceLabels)) {
		if value, ok := root.SourceLabels[key]; ok && value != child.SourceLabels[key] {
			return "sourceLabels"
		}
	}
	if root.MeshOnly && len(child.Gateways) > 0 {
		return "gateways"
	}
	for _, g := range child.Gateways {
		if len(root.Gateways) > 0 && !slices.Contains(root.Gateways, g) {
			return "gateways"
		}
	}
	return ""
}

// outside returns the first key under which child is not within root, "" if
// none.
func outside(root, child []model.KeyMatch) string {
	for i := range child {
		for j := range root {
			if root[j].Key == child[i].Key && !within(&root[j].StringMatch, &child[i].StringMatch) {
				return child[i].Key
			}
		}
	}
	return ""
}

// within reports whether child takes nothing that root does not. One that is
// not given stands for the other. Which of two regexes takes more is not
// decided: only equal ones fit.
func within(root, child *model.StringMatch) bool {
	switch {
	case root == nil || child == nil || *root == *child || takesAny(*root):
		return true
	case child.Kind == model.MatchRegex || child.Kind == model.MatchPresent:
		return false
	case root.Kind == model.MatchPrefix:
		return strings.HasPrefix(child.Value, root.Value)
	}
	return false
}

// takesAny reports whether every value fits s.
func takesAny(s model.StringMatch) bool {
	return s.Kind == model.MatchPresent || (s.Kind == model.MatchPrefix && s.Value == "")
}

// override returns the keys of both; those of child take precedence.
func override(root, child []model.KeyMatch) []model.KeyMatch {
	out := slices.Clone(child)
	for _, r := range root {
		if !slices.ContainsFunc(child, func(c model.KeyMatch) bool { return c.Key == r.Key }) {
			out = append(out, r)
		}
	}
	return byKey(out)
}

func byKey(in []model.KeyMatch) []model.KeyMatch {
	slices.SortStableFunc(in, func(a, b model.KeyMatch) int { return strings.Compare(a.Key, b.Key) })
	return in
}
