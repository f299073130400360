package istio

import (
	"strconv"
	"strings"
)

// path is the place of a value in its object. It knows what holds it, so a
// fault reaches its rule whatever a map key looks like; and it is written out
// only when somebody asks.
type path struct {
	up   *path
	step string // ".name", "[key]", or the name of the root
	// index is the place in a list when step is "".
	index int
}

// root returns the path of a field of the object itself: "spec"; "" is the
// whole object.
func root(name string) *path { return &path{step: name} }

// field returns the path of a field of the message at p.
func (p *path) field(name string) *path { return &path{up: p, step: "." + printable(name)} }

// element returns the path of an element of the list at p.
func (p *path) element(i int) *path { return &path{up: p, index: i} }

// entry returns the path of an entry of the map at p.
func (p *path) entry(key string) *path { return &path{up: p, step: "[" + printable(key) + "]"} }

// String returns the path as people write it: "spec.http[0].headers[x-user]".
func (p *path) String() string {
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

func (p *path) append(b []byte) []byte {
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
