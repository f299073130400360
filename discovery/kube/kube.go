// Package kube gives the objects of Kubernetes their meaning: Services and
// EndpointSlices become services and endpoints, Secrets and ConfigMaps are kept
// for whoever refers to them.
//
// What goes in: one [config.Object]. What comes out: a value of package model
// and the problems that its author should read. It alone decides what these
// objects mean. It reads no cluster: objects come from a source, be that a
// folder or an API server.
//
// Fields that only steer kube-proxy, load balancers of a cloud or the API
// server itself are accepted and mean nothing here.
package kube

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	kjson "sigs.k8s.io/json"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
)

// Kinds returns the kinds that this package reads and how.
func Kinds() map[config.GroupKind]config.Kind {
	v1 := []string{"v1"}
	return map[config.GroupKind]config.Kind{
		{Group: "", Kind: "Service"}:                       {Versions: v1, Decode: decodeService},
		{Group: "discovery.k8s.io", Kind: "EndpointSlice"}: {Versions: v1, Decode: decodeEndpointSlice},
		{Group: "", Kind: "Secret"}:                        {Versions: v1, Decode: decodeSecret},
		{Group: "", Kind: "ConfigMap"}:                     {Versions: v1, Decode: decodeConfigMap},
	}
}

// header is what every object starts with; its source has read it already.
type header struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Metadata   json.RawMessage `json:"metadata"`
}

// reader is the state of one decoding: whose object it is and what is wrong
// with it.
type reader struct {
	meta     model.Meta
	problems []model.Problem
}

// finding is one problem before it belongs to an object.
type finding struct {
	field   string
	reason  model.Reason
	message string
}

func (r *reader) fail(f finding) { r.add(f, model.SeverityError) }

func (r *reader) warn(f finding) { r.add(f, model.SeverityWarning) }

func (r *reader) add(f finding, severity model.Severity) {
	r.problems = append(r.problems, model.Problem{
		Object: r.meta.Ref, Field: f.field, Reason: f.reason, Message: f.message, Severity: severity,
	})
}

// sorted returns the problems in the order of their fields.
func (r *reader) sorted() []model.Problem {
	slices.SortStableFunc(r.problems, model.Problem.Compare)
	return r.problems
}

// read fills target, a pointer to a struct, from the object. Unknown and
// repeated fields are problems; it reports false when a value has the wrong
// type, and nothing of target may be used then. No message shows a value: it
// may be a secret.
func (r *reader) read(object []byte, target any) bool {
	strict, err := kjson.UnmarshalStrict(object, target)
	for _, s := range strict {
		var f kjson.FieldError
		if !errors.As(s, &f) {
			continue
		}
		reason, message := model.ReasonUnknownField, "the API has no such field; correct its name or remove it"
		if strings.HasPrefix(s.Error(), "duplicate") {
			reason, message = model.ReasonInvalidSyntax, "the field is given twice; keep one of them"
		}
		r.fail(finding{f.FieldPath(), reason, message})
	}
	if err == nil {
		return true
	}
	wrong := finding{"", model.ReasonWrongType, "the object does not have the form of its kind; compare it with the reference of the Kubernetes API"}
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		found, _, _ := strings.Cut(t.Value, " ")
		wrong.field = t.Field
		wrong.message = "a value of type " + found + " does not fit this field; the object is left out until it is corrected"
	}
	r.fail(wrong)
	return false
}
