// Package settings reads the Settings kind: the limits, timeouts and trust of a
// fleet of proxies.
//
// What goes in: one object `apiVersion: sluice.dev/v1, kind: Settings`. What
// comes out: a [model.Settings] that starts from [model.DefaultSettings], and a
// problem for every field that is unknown, of the wrong type or out of bounds.
// Such a field keeps its default. This package alone decides how a setting is
// written and how far it may go (fields.go).
package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
)

// Group and Kind name the object that this package reads.
const (
	Group = "sluice.dev"
	Kind  = "Settings"
)

// Kinds returns the kinds that this package reads.
func Kinds() map[config.GroupKind]config.Kind {
	return map[config.GroupKind]config.Kind{
		{Group: Group, Kind: Kind}: {Versions: []string{"v1"}, Decode: decode},
	}
}

// decode implements [config.Decoder]; the value is a [*model.Settings].
func decode(o config.Object) (model.Value, []model.Problem) {
	settings := model.DefaultSettings()
	settings.Meta = o.Meta
	d := decoder{object: o.Ref}
	root, ok := d.level("", o.JSON)
	if !ok {
		return &settings, d.problems
	}
	for _, key := range slices.Sorted(maps.Keys(root)) {
		switch key {
		case "apiVersion", "kind", "metadata", "status":
		case "spec":
			d.spec(&settings, root[key])
		default:
			d.report(key, model.ReasonUnknownField, fmt.Sprintf(
				"%s is not a field of Settings; settings stand under spec", strconv.Quote(key)))
		}
	}
	return &settings, d.problems
}

// decoder collects the problems of one object.
type decoder struct {
	object   model.Ref
	problems []model.Problem
}

func (d *decoder) report(field string, reason model.Reason, message string) {
	d.problems = append(d.problems, model.Problem{
		Object: d.object, Field: field, Reason: reason, Message: message, Severity: model.SeverityError,
	})
}

// level reads one level of a JSON object; null reads as empty.
func (d *decoder) level(field string, raw []byte) (map[string]json.RawMessage, bool) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		d.report(field, model.ReasonWrongType, "a map of fields is required here")
		return nil, false
	}
	return fields, true
}

// spec sets every field that is given and valid. Fields are read in the order
// of their names, so problems come in one order.
func (d *decoder) spec(settings *model.Settings, raw json.RawMessage) {
	given, ok := d.level("spec", raw)
	if !ok {
		return
	}
	known := map[string]field{}
	for _, f := range fields() {
		known[f.name] = f
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		f, ok := known[name]
		if !ok {
			d.report("spec."+name, model.ReasonUnknownField, fmt.Sprintf(
				"Settings has no field %s; docs/defaults.md lists the fields there are", strconv.Quote(name)))
			continue
		}
		if bytes.Equal(bytes.TrimSpace(given[name]), []byte("null")) {
			continue
		}
		if fault := f.set(settings, given[name]); fault != nil {
			d.report("spec."+name, fault.reason, fault.message)
		}
	}
}
