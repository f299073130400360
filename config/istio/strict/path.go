package strict

import (
	"strconv"
	"strings"
)

// Path is the place of a value in its object. It knows what holds it, so a
// fault reaches its rule whatever a map key looks like; and it is written out
// only when somebody asks.
type Path struct {
	up   *Path
	step string // ".name", "[key]", or the name of the root
	// index is the place in a list when step is "".
	index int
}

// Root returns the path of a field of the object itself: "spec"; "" is the
// whole object.
func Root(name string) *Path { return &Path{step: name} }

// Field returns the path of a field of the message at p.
func (p *Path) Field(name string) *Path { return &Path{up: p, step: "." + printable(name)} }

// Element returns the path of an element of the list at p.
func (p *Path) Element(i int) *Path { return &Path{up: p, index: i} }

// Entry returns the path of an entry of the map at p.
func (p *Path) Entry(key string) *Path { return &Path{up: p, step: "[" + printable(key) + "]"} }

// String returns the path as people write it: "spec.http[0].headers[x-user]".
func (p *Path) String() string {
	return string(p.append(nil))
}

// printable returns a name as it stands in a path: quoted when it holds
// anything that would break a line or look like a part of the path.
func printable(name string) string {
	quoted := strconv.Quote(name)
	if quoted[1:len(quoted)-1] != name || strings.ContainsAny(name, "[]") {
		return quoted
	}
	return name
}

func (p *Path) append(b []byte) []byte {
	if p.up != nil {
		b = p.up.append(b)
	}
	if p.step != "" || p.up == nil {
		return append(b, p.step...)
	}
	b = append(b, '[')
	b = strconv.AppendInt(b, int64(p.index), 10)
	return append(b, ']')
}
