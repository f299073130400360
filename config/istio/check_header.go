package istio

import "strings"

const (
	// maxHeaderBytes is Envoy's limit for a header's name or value that a route
	// sets (core.v3.HeaderValue).
	maxHeaderBytes = 16384
	// maxHeaderChanges is Envoy's limit for the headers that a route adds.
	maxHeaderChanges = 1000
)

// checkHeaderName checks the name of a header. Source: RFC 9110 section 5.1.
func checkHeaderName(name string) *finding {
	if name == "" {
		return invalid("the name of a header is empty; write one")
	}
	if len(name) > maxHeaderBytes || !isToken(name) {
		return invalid("%s is no header name; use letters, digits and hyphens only", quote(name))
	}
	return nil
}

// isToken reports whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := lower(s[i])
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// checkHeaderText checks that a text may travel in a header or a path: no
// control characters but tab.
func checkHeaderText(text string) *finding {
	if len(text) > maxHeaderBytes {
		return invalid("the value has %d bytes; write at most %d", len(text), maxHeaderBytes)
	}
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\t' || c == 0x7f {
			return invalid("%s holds a line break or another control character; remove it", quote(text))
		}
	}
	return nil
}
