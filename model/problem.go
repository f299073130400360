package model

import (
	"cmp"
	"strings"
)

// Severity says what a [Problem] costs.
type Severity string

// The severities, worst first.
const (
	// SeverityError: a part of the object is not served as written.
	SeverityError Severity = "error"
	// SeverityWarning: the object is served as written, but likely not as meant.
	SeverityWarning Severity = "warning"
	// SeverityNote: nothing is wrong; a part of what was declared is not for
	// Sluice, or not yet.
	SeverityNote Severity = "note"
)

// Problem is a fault of the user, as a value: what is wrong, where, and what to
// do about it. It is never logged by the stage that finds it.
type Problem struct {
	// Object is the object whose author should read this.
	Object Ref
	// Field is the path below the object's root as people write it, for
	// example "spec.http[0].route[1].weight"; "" means the whole object.
	Field string
	// Reason is one CamelCase word, stable across releases; see reason.go.
	Reason Reason
	// Message is one plain sentence that names the value and the remedy.
	Message  string
	Severity Severity
	// Place is where to look when the object alone does not say; sources fill
	// it in for their own problems, others leave it zero.
	Place Place
}

// Place is a line of a file; Line counts from 1, 0 means the whole file.
type Place struct {
	File string
	Line int
}

// Reason is the CamelCase class of a [Problem].
type Reason string

// Compare orders problems by object, field, reason and message.
func (p Problem) Compare(o Problem) int {
	return cmp.Or(
		p.Object.Compare(o.Object),
		strings.Compare(p.Field, o.Field),
		strings.Compare(string(p.Reason), string(o.Reason)),
		strings.Compare(p.Message, o.Message),
		strings.Compare(string(p.Severity), string(o.Severity)),
	)
}

// Report is all that one reporter has to say; empty problems take back what it
// said before.
type Report struct {
	By       string
	Problems []Problem
}
