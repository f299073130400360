package routing

import (
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
)

// pathKey is what is known of the paths that a match takes, without their query.
type pathKey struct {
	// literal is what each of them begins with, in this very case.
	literal string
	// exact: literal is the only one. everything: all that begin with it.
	exact, everything bool
}

// pathOf reads the path of m. A path ends before its query or fragment, so a
// literal ends there, too.
func pathOf(m *routev3.RouteMatch) pathKey {
	var out pathKey
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		out = pathKey{literal: p.Prefix, everything: true}
	case *routev3.RouteMatch_Path:
		out = pathKey{literal: p.Path, exact: true}
	case *routev3.RouteMatch_SafeRegex:
		return pathKey{literal: beginning(p.SafeRegex.GetRegex())}
	default:
		return pathKey{}
	}
	if c := m.GetCaseSensitive(); c != nil && !c.GetValue() {
		if i := strings.IndexFunc(out.literal, isLetter); i >= 0 {
			out = pathKey{literal: out.literal[:i]}
		}
	}
	if i := strings.IndexAny(out.literal, "?#"); i >= 0 {
		out = pathKey{literal: out.literal[:i]}
	}
	return out
}

// beginning returns what every string that the whole of a regex takes begins
// with; "" if nothing is certain.
func beginning(pattern string) string {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return ""
	}
	literal, _ := re.LiteralPrefix()
	if i := strings.IndexFunc(literal, func(r rune) bool { return r == '?' || r == '#' || r >= 0x80 }); i >= 0 {
		return literal[:i]
	}
	return literal
}

func isLetter(r rune) bool { return ('a' <= r && r <= 'z') || ('A' <= r && r <= 'Z') }

// unconditional reports whether m asks for nothing but a path.
func unconditional(m *routev3.RouteMatch) bool {
	return proto.Equal(m, &routev3.RouteMatch{PathSpecifier: m.GetPathSpecifier(), CaseSensitive: m.GetCaseSensitive()})
}
