// Package strict is the first pass over an object of Istio's API.
//
// What goes in: the JSON of an object and an empty message. What comes out: the
// message filled with what fits, and a [Reader] that knows every problem and
// which parts have a fault. It alone decides what fits a field. An element of a
// list that does not fit leaves an empty one behind, so that the indexes of its
// neighbours stay what the author wrote.
//
// It is stricter than protojson: fields have their JSON names only, numbers are
// not strings, enums are not numbers, null is no value; the same as the schemas
// that Istio installs in Kubernetes.
package strict

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sluicegw/sluice/model"
)

// ReadSpec fills m from the spec of an object, which is JSON. It reports false
// when there is no spec to read.
func (r *Reader) ReadSpec(object []byte, m protoreflect.Message) bool {
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(object))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil || fields == nil {
		r.Fail(Root(""), WrongType("the object is not a JSON object; write apiVersion, kind, metadata and spec"))
		return false
	}
	known := []string{"apiVersion", "kind", "metadata", "spec", "status"}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(known, name) {
			r.Lose(Root(name), unknownField(name, Nearest(name, known)))
		}
	}
	spec, given := fields["spec"]
	if !given {
		r.Fail(Root("spec"), Missing("spec is missing; add it"))
		return false
	}
	return r.readMessage(Root("spec"), spec, m)
}

// unknownField says that there is no field of this name, but perhaps a near one.
func unknownField(name, near string) *Finding {
	message := "the API has no field " + Quote(name)
	if near != "" {
		message += "; did you mean " + Quote(near) + "?"
	} else {
		message += "; remove it"
	}
	return &Finding{model.ReasonUnknownField, message}
}

func (r *Reader) readMessage(at *Path, value any, m protoreflect.Message) bool {
	object, ok := value.(map[string]any)
	if !ok {
		r.Fail(at, WrongType("%s is no object; write the fields below it, indented", describe(value)))
		return false
	}
	fields := m.Descriptor().Fields()
	for _, name := range slices.Sorted(maps.Keys(object)) {
		fd := fields.ByJSONName(name)
		if fd == nil {
			near := Nearest(name, jsonNames(fields))
			_, given := object[near]
			r.unknown(at, name, near, given)
			continue
		}
		if cost := deferred(fd.FullName()); cost != "" {
			r.Lose(at.Field(name), NotYet("%s %s", name, cost))
			continue
		}
		if meshOnly(fd.FullName()) {
			r.Warn(at.Field(name), Waiting("%s has an effect between sidecars only, which do not exist yet; nothing is lost here", name))
			continue
		}
		r.readField(at, object[name], field{m, fd})
	}
	return true
}

// unknown reports an unknown field of the message at a path. The field that was
// likely meant counts as faulty too unless it is given beside: a rule whose
// "matches" is not read must not take every request.
func (r *Reader) unknown(message *Path, name, near string, given bool) {
	r.Lose(message.Field(name), unknownField(name, near))
	if near != "" && !given {
		r.mark(message.Field(near), fault{count: 1})
	}
}

func jsonNames(fields protoreflect.FieldDescriptors) []string {
	names := make([]string, fields.Len())
	for i := range names {
		names[i] = fields.Get(i).JSONName()
	}
	return names
}

// field is a field of a message that is being filled.
type field struct {
	message protoreflect.Message
	protoreflect.FieldDescriptor
}

// readField reads the value of a field of the message at a path.
func (r *Reader) readField(message *Path, value any, f field) {
	at := message.Field(f.JSONName())
	if one := f.ContainingOneof(); one != nil && f.message.WhichOneof(one) != nil {
		r.Fail(message, Invalid("%s exclude each other; keep one of them",
			strings.Join(jsonNames(one.Fields()), ", ")))
		return
	}
	switch {
	case f.IsMap():
		r.readMap(at, value, f)
	case f.IsList():
		r.readList(at, value, f)
	case f.Message() != nil && !IsScalar(f.Message()):
		r.readMessage(at, value, f.message.Mutable(f.FieldDescriptor).Message())
	default:
		if v, wrong := readScalar(value, f.FieldDescriptor); !r.Fail(at, wrong) {
			f.message.Set(f.FieldDescriptor, v)
			if !f.HasPresence() && !f.message.Has(f.FieldDescriptor) {
				r.zeros[at.String()] = true
			}
		}
	}
}

func (r *Reader) readList(at *Path, value any, f field) {
	elements, ok := value.([]any)
	if !ok {
		r.Fail(at, WrongType("%s is no list; start each element with a dash", describe(value)))
		return
	}
	list := f.message.Mutable(f.FieldDescriptor).List()
	for i, element := range elements {
		v := list.NewElement()
		if f.Message() != nil {
			r.readMessage(at.Element(i), element, v.Message())
		} else if scalar, wrong := readScalar(element, f.FieldDescriptor); !r.Fail(at.Element(i), wrong) {
			v = scalar
		}
		list.Append(v)
	}
}

func (r *Reader) readMap(at *Path, value any, f field) {
	entries, ok := value.(map[string]any)
	if !ok {
		r.Fail(at, WrongType("%s is no map; write it as key: value", describe(value)))
		return
	}
	target := f.message.Mutable(f.FieldDescriptor).Map()
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		v := target.NewValue()
		if f.MapValue().Message() != nil {
			if !r.readMessage(at.Entry(key), entries[key], v.Message()) {
				continue
			}
		} else {
			scalar, wrong := readScalar(entries[key], f.MapValue())
			if r.Fail(at.Entry(key), wrong) {
				continue
			}
			v = scalar
		}
		target.Set(protoreflect.ValueOfString(key).MapKey(), v)
	}
}
