// Package unread says what its author should know of an object whose kind
// nobody reads. What goes in: the object, and the kinds that are read. What
// comes out: one [model.Problem].
//
// It alone decides what that costs. A kind of a group that is none of Sluice's
// is a note: folders hold Deployments beside routes. A kind that its group does
// not have was misspelt, which is an error, because nothing of the object is
// served. A kind that exists and is not read is an error when leaving it out lets
// more through than was written, or leaves something unserved; else a warning.
package unread

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// Problem returns what to say of an object whose kind is not among read.
func Problem(o config.Object, read map[config.GroupKind]config.Kind) model.Problem {
	group, _, both := strings.Cut(o.APIVersion, "/")
	if !both {
		group = "" // of Kubernetes itself
	}
	p := model.Problem{Object: o.Ref, Field: "kind", Reason: model.ReasonUnknownKind, Severity: model.SeverityError}
	groups := kindsByGroup(read)
	loss, exists := losses()[group][o.Ref.Kind]
	near := strict.Nearest(group, slices.Sorted(maps.Keys(groups)))
	switch {
	case exists:
		loss.tell(&p, o)
	case groups[group] != nil:
		p.Message = fmt.Sprintf("%q has no kind %s; %s", o.APIVersion, o.Ref.Kind, instead(o.Ref.Kind, groups[group]))
	case near != "" && slices.Contains(groups[near], o.Ref.Kind):
		p.Field = "apiVersion"
		p.Message = fmt.Sprintf("Sluice reads no kind of %q; did you mean the %s of %q?", o.APIVersion, o.Ref.Kind, near)
	default:
		foreign.tell(&p, o)
	}
	return p
}

// kindsByGroup returns the names of all kinds of the groups that Sluice knows,
// sorted.
func kindsByGroup(read map[config.GroupKind]config.Kind) map[string][]string {
	out := map[string][]string{}
	for gk := range read {
		out[gk.Group] = append(out[gk.Group], gk.Kind)
	}
	for group, kinds := range losses() {
		out[group] = slices.AppendSeq(out[group], maps.Keys(kinds))
	}
	for _, kinds := range out {
		slices.Sort(kinds)
	}
	return out
}

// instead says what to write for a kind that does not exist.
func instead(kind string, kinds []string) string {
	if near := strict.Nearest(kind, kinds); near != "" {
		return "did you mean " + near + "?"
	}
	return "correct it, or remove the object"
}
