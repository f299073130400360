package istio

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sluicegw/sluice/model"
)

// This file is the first pass: it holds the JSON of an object against the
// descriptor of its message. What fits is set in the message, the rest is a
// problem. An element of a list that does not fit leaves an empty one behind,
// so that the indexes of its neighbours stay what the author wrote.
//
// It is stricter than protojson: fields have their JSON names only, numbers are
// not strings, enums are not numbers, null is no value; the same as the schemas
// that Istio installs in Kubernetes.

// readSpec fills m from the spec of an object, which is JSON. It reports false
// when there is no spec to read.
func (r *reader) readSpec(object []byte, m protoreflect.Message) bool {
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(object))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil || fields == nil {
		r.fail(root(""), wrongType("the object is not a JSON object; write apiVersion, kind, metadata and spec"))
		return false
	}
	known := []string{"apiVersion", "kind", "metadata", "spec", "status"}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(known, name) {
			r.lose(root(name), unknownField(name, nearest(name, known)))
		}
	}
	spec, given := fields["spec"]
	if !given {
		r.fail(root("spec"), missing("spec is missing; add it"))
		return false
	}
	return r.readMessage(root("spec"), spec, m)
}

// unknownField says that there is no field of this name, but perhaps a near one.
func unknownField(name, near string) *finding {
	message := "the API has no field " + quote(name)
	if near != "" {
		message += "; did you mean " + quote(near) + "?"
	} else {
		message += "; remove it"
	}
	return &finding{model.ReasonUnknownField, message}
}

func (r *reader) readMessage(at *path, value any, m protoreflect.Message) bool {
	object, ok := value.(map[string]any)
	if !ok {
		r.fail(at, wrongType("%s is no object; write the fields below it, indented", describe(value)))
		return false
	}
	fields := m.Descriptor().Fields()
	for _, name := range slices.Sorted(maps.Keys(object)) {
		fd := fields.ByJSONName(name)
		if fd == nil {
			r.unknown(at, name, nearest(name, jsonNames(fields)))
			continue
		}
		if cost := deferred(fd.FullName()); cost != "" {
			r.lose(at.field(name), notYet("%s is not supported yet and %s; remove it", name, cost))
			continue
		}
		r.readField(at, object[name], field{m, fd})
	}
	return true
}

// unknown reports an unknown field of the message at a path. The field that was
// likely meant counts as faulty too: a rule whose "matches" is not read must not
// take every request.
func (r *reader) unknown(message *path, name, near string) {
	r.lose(message.field(name), unknownField(name, near))
	if near != "" {
		r.mark(message.field(near), fault{count: 1})
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
func (r *reader) readField(message *path, value any, f field) {
	at := message.field(f.JSONName())
	if one := f.ContainingOneof(); one != nil && f.message.WhichOneof(one) != nil {
		r.fail(message, invalid("%s exclude each other; keep one of them",
			strings.Join(jsonNames(one.Fields()), ", ")))
		return
	}
	switch {
	case f.IsMap():
		r.readMap(at, value, f)
	case f.IsList():
		r.readList(at, value, f)
	case f.Message() != nil && !isScalar(f.Message()):
		r.readMessage(at, value, f.message.Mutable(f.FieldDescriptor).Message())
	default:
		if v, wrong := readScalar(value, f.FieldDescriptor); !r.fail(at, wrong) {
			f.message.Set(f.FieldDescriptor, v)
		}
	}
}

func (r *reader) readList(at *path, value any, f field) {
	elements, ok := value.([]any)
	if !ok {
		r.fail(at, wrongType("%s is no list; start each element with a dash", describe(value)))
		return
	}
	list := f.message.Mutable(f.FieldDescriptor).List()
	for i, element := range elements {
		v := list.NewElement()
		if f.Message() != nil {
			r.readMessage(at.element(i), element, v.Message())
		} else if scalar, wrong := readScalar(element, f.FieldDescriptor); !r.fail(at.element(i), wrong) {
			v = scalar
		}
		list.Append(v)
	}
}

func (r *reader) readMap(at *path, value any, f field) {
	entries, ok := value.(map[string]any)
	if !ok {
		r.fail(at, wrongType("%s is no map; write it as key: value", describe(value)))
		return
	}
	target := f.message.Mutable(f.FieldDescriptor).Map()
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		v := target.NewValue()
		if f.MapValue().Message() != nil {
			if !r.readMessage(at.entry(key), entries[key], v.Message()) {
				continue
			}
		} else {
			scalar, wrong := readScalar(entries[key], f.MapValue())
			if r.fail(at.entry(key), wrong) {
				continue
			}
			v = scalar
		}
		target.Set(protoreflect.ValueOfString(key).MapKey(), v)
	}
}
