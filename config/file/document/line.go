package document

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluicegw/sluice/model"
)

// Lines finds the lines of a file's fields.
type Lines struct {
	objects []*yaml.Node // numbered as in [model.Order]
}

// ParseLines reads a file for its lines; a broken one has none.
func ParseLines(path string, data []byte) Lines {
	roots, syntax := nodes(path, data)
	if syntax != nil {
		return Lines{}
	}
	var l Lines
	for _, r := range roots {
		l.objects = append(l.objects, expand(r)...)
	}
	return l
}

// Line returns the line of a field, for example
// "spec.http[0].route[1].weight" or metadata.annotations["a.b/c"]; "" is the
// object itself. A field that is not there gives the nearest one around it. An
// object that is not in the file has none; index is where it is likely to be.
func (l Lines) Line(obj model.Ref, index int, field string) (line int, ok bool) {
	is := func(n *yaml.Node) bool {
		id, f := identify(n)
		return f == nil && id.ref == obj
	}
	if index < len(l.objects) && is(l.objects[index]) {
		return lineOf(l.objects[index], field), true
	}
	for _, n := range l.objects {
		if is(n) {
			return lineOf(n, field), true
		}
	}
	return 0, false
}

// lineOf walks from n along a field path as far as it leads.
func lineOf(n *yaml.Node, field string) int {
	line := n.Line
	for field != "" {
		var seg segment
		var ok bool
		if seg, field, ok = next(field); !ok {
			return line
		}
		n = target(n)
		if n == nil {
			return line
		}
		if seg.isIndex {
			if n.Kind != yaml.SequenceNode || seg.index >= len(n.Content) {
				return line
			}
			n = n.Content[seg.index]
			line = n.Line
			continue
		}
		k, v := lookup(n, seg.key)
		if v == nil {
			return line
		}
		n, line = v, k.Line
	}
	return line
}

// segment is one part of a field path: a key or an index.
type segment struct {
	key     string
	index   int
	isIndex bool
}

// next splits the first segment off a field path: key, .key, [3], ["a.b/c"].
func next(field string) (seg segment, rest string, ok bool) {
	if !strings.HasPrefix(field, "[") {
		field = strings.TrimPrefix(field, ".")
		end := strings.IndexAny(field, ".[")
		if end < 0 {
			end = len(field)
		}
		return segment{key: field[:end]}, field[end:], end > 0
	}
	field = field[1:]
	if quoted, err := strconv.QuotedPrefix(field); err == nil {
		key, err := strconv.Unquote(quoted)
		rest, closed := strings.CutPrefix(field[len(quoted):], "]")
		return segment{key: key}, rest, err == nil && closed
	}
	inner, rest, closed := strings.Cut(field, "]")
	i, err := strconv.Atoi(inner)
	if err != nil {
		return segment{key: strings.Trim(inner, "'")}, rest, closed && inner != ""
	}
	return segment{index: i, isIndex: true}, rest, closed && i >= 0
}
