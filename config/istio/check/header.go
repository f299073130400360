// Package check holds the checks of values that Istio's API writes as plain
// strings and numbers: names, ports, headers, regular expressions.
//
// What goes in: a value of the user. What comes out: nil, or the
// [strict.Finding] that says what is wrong with it. It alone decides which of
// them Envoy would take.
package check

import (
	"fmt"
	"strings"

	"github.com/sluicegw/sluice/config/istio/strict"
)

const (
	// maxHeaderBytes is Envoy's limit for a header's name or value that a route
	// sets (core.v3.HeaderValue).
	maxHeaderBytes = 16384
	// MaxHeaderChanges is Envoy's limit for the headers that a route adds.
	MaxHeaderChanges = 1000
)

// HeaderName checks the name of a header. Source: RFC 9110 section 5.1.
func HeaderName(name string) *strict.Finding {
	if name == "" {
		return strict.Invalid("the name of a header is empty; write one")
	}
	if len(name) > maxHeaderBytes || !IsToken(name) {
		return strict.Invalid("%s is no header name; use letters, digits and hyphens only", strict.Quote(name))
	}
	return nil
}

// IsToken reports whether s is a token of RFC 9110 section 5.6.2.
func IsToken(s string) bool {
	for i := range len(s) {
		c := lower(s[i])
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// HeaderText checks that a text may travel in a header or a path: no
// control characters but tab.
func HeaderText(text string) *strict.Finding {
	if len(text) > maxHeaderBytes {
		return strict.Invalid("the value has %d bytes; write at most %d", len(text), maxHeaderBytes)
	}
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\t' || c == 0x7f {
			return strict.Invalid("%s holds a line break or another control character; remove it", strict.Quote(text))
		}
	}
	return nil
}

// Path checks that a text may become part of a path, or of a Location: a space
// would end the path in the request line of HTTP/1. Source: RFC 3986, appendix A.
func Path(text string) *strict.Finding {
	if wrong := HeaderText(text); wrong != nil {
		return wrong
	}
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f {
			return strict.Invalid("%s holds a character that does not stand in a path as it is; write %s", strict.Quote(text), strict.Quote(escaped(text)))
		}
	}
	return nil
}

// escaped returns text with percent-encoding in the place of what stands in no
// path.
func escaped(text string) string {
	var out strings.Builder
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f {
			fmt.Fprintf(&out, "%%%02X", c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
