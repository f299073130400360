package kube

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
)

// entries are the values of a Secret or ConfigMap as written. They are read one
// by one: a bad one is left out, the others stay.
type entries map[string]json.RawMessage

// decodeSecret keeps the entries of a Secret, those of stringData over those of
// data. No problem shows a value.
func decodeSecret(o config.Object) (model.Value, []model.Problem) {
	r := &reader{meta: o.Meta}
	var in struct {
		header
		Data       entries `json:"data"`
		StringData entries `json:"stringData"`
		Immutable  *bool   `json:"immutable"`
		Type       string  `json:"type"`
	}
	if !r.read(o.JSON, &in) {
		return nil, r.sorted()
	}
	out := &model.Opaque{Meta: o.Meta, Content: map[string][]byte{}}
	r.keep("data", in.Data, encoded(out.Content))
	r.keep("stringData", in.StringData, plain(out.Content))
	return out, r.sorted()
}

// decodeConfigMap keeps the entries of a ConfigMap. A key of both data and
// binaryData is a problem; that of data stays.
func decodeConfigMap(o config.Object) (model.Value, []model.Problem) {
	r := &reader{meta: o.Meta}
	var in struct {
		header
		Data       entries `json:"data"`
		BinaryData entries `json:"binaryData"`
		Immutable  *bool   `json:"immutable"`
	}
	if !r.read(o.JSON, &in) {
		return nil, r.sorted()
	}
	out := &model.Opaque{Meta: o.Meta, Content: map[string][]byte{}}
	for _, key := range slices.Sorted(maps.Keys(in.BinaryData)) {
		if _, twice := in.Data[key]; twice {
			r.fail(finding{"binaryData[" + key + "]", model.ReasonInvalidValue, "data has the same key and this one is left out; remove one of them"})
			delete(in.BinaryData, key)
		}
	}
	r.keep("binaryData", in.BinaryData, encoded(out.Content))
	r.keep("data", in.Data, plain(out.Content))
	return out, r.sorted()
}

// keep reads the entries of a field, in the order of their keys.
func (r *reader) keep(field string, in entries, store func(key, value string) bool) {
	for _, key := range slices.Sorted(maps.Keys(in)) {
		var text *string
		if err := json.Unmarshal(in[key], &text); err != nil || text == nil {
			r.fail(finding{field + "[" + key + "]", model.ReasonWrongType, "the value is no string and is left out; put it in quotes"})
			continue
		}
		if !store(key, *text) {
			r.fail(finding{field + "[" + key + "]", model.ReasonInvalidValue, "the value is not base64 and is left out; encode it"})
		}
	}
}

func plain(content map[string][]byte) func(key, value string) bool {
	return func(key, value string) bool {
		content[key] = []byte(value)
		return true
	}
}

func encoded(content map[string][]byte) func(key, value string) bool {
	return func(key, value string) bool {
		decoded, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return false
		}
		content[key] = decoded
		return true
	}
}
