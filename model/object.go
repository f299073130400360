// Package model holds the words every part of Sluice speaks.
//
// What goes in: nothing; this package imports nothing of ours. What comes out:
// immutable values for gateways, routes, destinations and endpoints, the
// [Problem] that every stage may report, the [Resource] that every translator
// produces, and in names.go the name of every xDS resource.
//
// A value of this package is never changed after it was built: stages share
// pointers to it freely.
package model

import (
	"cmp"
	"strings"
	"time"
)

// Ref names one declared object. Group is the API group without version
// ("networking.istio.io"; "" for Kubernetes core). Two API versions of one
// group name the same object.
type Ref struct {
	Group     string
	Kind      string
	Namespace string
	Name      string
}

// String returns "Kind namespace/name", as people read it.
func (r Ref) String() string {
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Compare orders refs by kind, namespace, name and group.
func (r Ref) Compare(o Ref) int {
	return cmp.Or(
		strings.Compare(r.Kind, o.Kind),
		strings.Compare(r.Namespace, o.Namespace),
		strings.Compare(r.Name, o.Name),
		strings.Compare(r.Group, o.Group),
	)
}

// Meta is what every declared object carries.
type Meta struct {
	Ref Ref
	// Seen counts up with what its source met: an object that came while another
	// was there has the larger number. Objects of one first look share theirs; 0
	// where nobody counts. It says nothing of what the object is: two versions of
	// one object that differ in nothing else are equal.
	Seen        uint64
	Created     time.Time // creationTimestamp; zero when the object has none
	Order       Order     // tie break of objects from files
	Labels      map[string]string
	Annotations map[string]string
}

// Order is the place of an object among files: path first, then the index of
// the document in its file. Objects from an API server leave it zero.
type Order struct {
	Path  string
	Index int
}

// Older reports whether m takes precedence over o: who was there first, then
// earlier creation, then place among files, then name, then namespace.
//
// Source: decision 0010. Istio sorts by creationTimestamp, name, namespace; an
// object without a timestamp counts as older than one with, so what a folder
// without timestamps held from the start is ordered by path alone.
func (m *Meta) Older(o *Meta) bool {
	return m.Compare(o) < 0
}

// Compare is the total order behind [Meta.Older].
func (m *Meta) Compare(o *Meta) int {
	return cmp.Or(
		cmp.Compare(m.Seen, o.Seen),
		m.Created.Compare(o.Created),
		strings.Compare(m.Order.Path, o.Order.Path),
		cmp.Compare(m.Order.Index, o.Order.Index),
		strings.Compare(m.Ref.Name, o.Ref.Name),
		strings.Compare(m.Ref.Namespace, o.Ref.Namespace),
		m.Ref.Compare(o.Ref),
	)
}

// Value is what a declared object means: one of [*Gateway], [*RouteSet],
// [*DestinationPolicy], [*Service], [*Workload], [*EndpointSlice], [*Opaque].
type Value interface {
	// Metadata returns the object's meta; never nil.
	Metadata() *Meta
}

// Metadata implements [Value].
func (m *Meta) Metadata() *Meta { return m }

// Opaque is an object that is kept but not read yet (Secret, ConfigMap).
type Opaque struct {
	Meta
	// Content holds the object's entries, by key. Treat every value as secret.
	Content map[string][]byte
	// Before is the content that this object took the place of, if it is better;
	// nil otherwise. No decoder sets it.
	Before map[string][]byte
}
