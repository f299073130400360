package file

import (
	"io/fs"

	"github.com/sluicegw/sluice/config/file/document"
	"github.com/sluicegw/sluice/model"
)

// located is the file that was located in last: problems come in runs.
type located struct {
	key   key
	info  fs.FileInfo
	lines document.Lines
}

// Locate returns the file and line of a field of an object, for example
// "spec.http[0].route[1].weight" or metadata.annotations["a.b/c"]; "" is the
// object itself. A field that is not there gives the nearest one around it. The
// file is read anew; when it no longer holds the object, the line is that of
// the object's last good version. An unknown object has no place. Locate may be
// called from any goroutine.
func (s *Source) Locate(obj model.Ref, field string) model.Place {
	if obj == document.FileRef(obj.Name) {
		return model.Place{File: obj.Name}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	claims := s.ledger.claims[obj]
	if len(claims) == 0 {
		return model.Place{}
	}
	c := claims[0]
	place := model.Place{File: c.rec.key.path(), Line: c.doc.Line}
	if line, ok := s.lines(c.rec.key).Line(obj, c.doc.Order.Index, field); ok {
		place.Line = line
	}
	return place
}

// lines returns the lines of a file as it is now; none when it cannot be read.
func (s *Source) lines(k key) document.Lines {
	at, err := follow("/", k.root.abs+"/"+k.rel)
	if err != nil || s.reader.acceptable(at.info) != nil {
		return document.Lines{}
	}
	if s.located.key == k && unchanged(s.located.info, at.info) {
		return s.located.lines
	}
	data, info, err := s.reader.load(at.real)
	if err != nil {
		return document.Lines{}
	}
	s.located = located{key: k, info: info, lines: document.ParseLines(k.path(), data)}
	return s.located.lines
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
