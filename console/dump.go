package console

import (
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/sluicegw/sluice/model"
)

// Types returns the resource types in the order in which they are shown.
func Types() []model.ResourceType {
	return []model.ResourceType{
		model.TypeListener, model.TypeExtension, model.TypeScope, model.TypeRoute,
		model.TypeCluster, model.TypeEndpoint, model.TypeSecret,
	}
}

// TypesNamed returns the type with a short word ("route"), or all for "".
func TypesNamed(word string) ([]model.ResourceType, error) {
	if word == "" {
		return Types(), nil
	}
	var words []string
	for _, t := range Types() {
		if t.Short() == word {
			return []model.ResourceType{t}, nil
		}
		words = append(words, t.Short())
	}
	return nil, fmt.Errorf("unknown type %q; use one of %s", word, strings.Join(words, ", "))
}

// redacted stands for the content of secrets.
const redacted = "[redacted]"

// JSON returns a resource as protobuf JSON, its version beside it, without the
// content of secrets.
func JSON(r *model.Resource) (json.RawMessage, error) {
	name := protoreflect.FullName(strings.TrimPrefix(string(r.Type), "type.googleapis.com/"))
	mt, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		return nil, fmt.Errorf("show %s %s: %w", r.Type.Short(), r.Name, err)
	}
	m := mt.New().Interface()
	if err := proto.Unmarshal(r.Bytes, m); err != nil {
		return nil, fmt.Errorf("decode %s %s: %w", r.Type.Short(), r.Name, err)
	}
	if r.Type == model.TypeSecret {
		redact(m.ProtoReflect())
	}
	text, err := protojson.MarshalOptions{}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("show %s %s: %w", r.Type.Short(), r.Name, err)
	}
	return json.Marshal(struct {
		Version string          `json:"version"`
		Name    string          `json:"name"`
		Content json.RawMessage `json:"resource"`
	}{fmt.Sprintf("%016x", r.Hash), r.Name, text})
}

// redact replaces every inline string and byte field below m.
func redact(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Name() == "name":
		case f.Kind() == protoreflect.BytesKind && !f.IsList():
			m.Set(f, protoreflect.ValueOfBytes([]byte(redacted)))
		case f.Kind() == protoreflect.StringKind && !f.IsList():
			m.Set(f, protoreflect.ValueOfString(redacted))
		case f.IsList() && f.Kind() == protoreflect.MessageKind:
			for i := range v.List().Len() {
				redact(v.List().Get(i).Message())
			}
		case f.IsList():
			m.Clear(f)
		case f.IsMap():
			m.Clear(f)
		case f.Kind() == protoreflect.MessageKind:
			redact(v.Message())
		}
		return true
	})
}
