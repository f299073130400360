// Package config is the contract between the places where objects come from
// and the rest: a [Source] sends [Step]s of raw [Object]s, and a [Decoder]
// turns one object into what it means. Its subfolders hold the sources (file)
// and the meanings (istio, settings); it alone decides what a raw object is.
package config

import (
	"context"
	"time"

	"github.com/sluicegw/sluice/model"
)

// Object is one declared object as its source read it.
type Object struct {
	model.Meta
	// APIVersion as written, for example "networking.istio.io/v1".
	APIVersion string
	// JSON is the whole object, apiVersion and metadata included.
	JSON []byte
	// Hash is xxhash64 of JSON and of what else of Meta matters: equal hashes
	// mean equal objects.
	Hash uint64
}

// Step is a change of a source's objects that belongs together: what one scan
// of a folder or one event of an API server brought.
type Step struct {
	// At is when the source noticed, for the time from change to live.
	At time.Time
	// Upserts are new and changed objects. Objects that changed nothing but
	// their line are not among them.
	Upserts []Object
	// Removals are objects that are gone. A source that lost its place (deleted
	// folder, lost connection) removes nothing.
	Removals []model.Ref
	// Problems are the source's own (unreadable file, bad syntax, duplicate
	// object): always all of them, replacing those of the step before.
	Problems []model.Problem
	// Synced is set once the source has shown everything it has at the start,
	// and on every later step.
	Synced bool
}

// Source sends what it has, then every change, until ctx ends. The first step
// is sent even when it is empty. Run blocks; it returns an error only for a
// fault of the machine that it cannot wait out.
type Source interface {
	Run(ctx context.Context, steps chan<- Step) error
}

// GroupKind names a kind of object without its version.
type GroupKind struct{ Group, Kind string }

// Decoder gives the meaning of one object and its problems. It is pure. A nil
// value means that nothing of the object can be used. Parts that cannot be
// served are left out or replaced by something safe, each with a problem.
type Decoder func(Object) (model.Value, []model.Problem)

// Kind is how objects of one kind are read.
type Kind struct {
	// Versions are the accepted API versions, for example "v1", "v1beta1".
	Versions []string
	Decode   Decoder
}
