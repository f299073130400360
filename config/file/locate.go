package file

import (
	"io/fs"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluicegw/sluice/model"
)

// parsedFile is the file that was located in last: problems come in runs.
type parsedFile struct {
	key     key
	info    fs.FileInfo
	objects []*yaml.Node
}

// Locate returns the file and line of a field of an object, for example
// "spec.http[0].route[1].weight" or metadata.annotations["a.b/c"]; "" is the
// object itself. A field that is not there gives the nearest one around it. The
// file is read anew; when it no longer holds the object, the line is that of
// the object's last good version. An unknown object has no place. Locate may be
// called from any goroutine.
func (s *Source) Locate(obj model.Ref, field string) model.Place {
	if obj == fileRef(obj.Name) {
		return model.Place{File: obj.Name}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	claims := s.ledger.claims[obj]
	if len(claims) == 0 {
		return model.Place{}
	}
	c := claims[0]
	place := model.Place{File: c.rec.key.path(), Line: c.doc.line}
	n := s.find(c)
	if n == nil {
		return place
	}
	place.Line = lineOf(n, field)
	return place
}

// find returns the node of an object in its file as it is now, or nil.
func (s *Source) find(c claim) *yaml.Node {
	objects := s.objects(c.rec.key)
	is := func(n *yaml.Node) bool {
		id, f := identify(n)
		return f == nil && id.ref == c.doc.object.Ref
	}
	if i := c.doc.object.Order.Index; i < len(objects) && is(objects[i]) {
		return objects[i]
	}
	for _, n := range objects {
		if is(n) {
			return n
		}
	}
	return nil
}

// objects returns the nodes of all objects of a file, as numbered by
// [model.Order].
func (s *Source) objects(k key) []*yaml.Node {
	at, err := follow("/", k.root.abs+"/"+k.rel)
	if err != nil || s.reader.acceptable(at.info) != nil {
		return nil
	}
	if p := s.parsed; p.key == k && unchanged(p.info, at.info) {
		return p.objects
	}
	data, info, err := s.reader.load(at.real)
	if err != nil {
		return nil
	}
	roots, syntax := nodes(k.path(), data)
	if syntax != nil {
		return nil
	}
	var objects []*yaml.Node
	for _, r := range roots {
		objects = append(objects, expand(r)...)
	}
	s.parsed = parsedFile{key: k, info: info, objects: objects}
	return objects
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

// File returns the path of the file that holds an object, "" if unknown. It
// reads nothing and may be called from any goroutine.
func (s *Source) File(obj model.Ref) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if claims := s.ledger.claims[obj]; len(claims) > 0 {
		return claims[0].rec.key.path()
	}
	return ""
}
