package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// checkPossible warns of conditions that no request can meet, because what a
// request says is brought into one form before it is compared, or refused.
func (r reader) checkPossible(at *strict.Path, m *model.Match) {
	r.checkURI(at.Field("uri"), m.URI)
	r.checkMethod(at.Field("method"), m.Method)
	if s := m.Scheme; isText(s) && s.Value != strings.ToLower(s.Value) {
		r.Warn(at.Field("scheme"), strict.Invalid("the scheme of a request is in lower case and never like %s; write %s", strict.Quote(s.Value), strict.Quote(strings.ToLower(s.Value))))
	}
	for _, header := range m.Headers {
		if strings.Contains(header.Key, "_") {
			r.Warn(at.Field("headers").Entry(header.Key), strict.Invalid("requests with an underscore in the name of a header get 400 by default, so none has %s; write %s, or allow them with underscoreHeaders in Settings",
				strict.Quote(header.Key), strict.Quote(strings.ReplaceAll(header.Key, "_", "-"))))
		}
	}
}

// isText reports whether m compares with a text and not with an expression.
func isText(m *model.StringMatch) bool {
	return m != nil && (m.Kind == model.MatchExact || m.Kind == model.MatchPrefix)
}

func (r reader) checkURI(at *strict.Path, uri *model.StringMatch) {
	if !isText(uri) || r.Any(at) {
		return
	}
	switch form := normalised(uri.Value); {
	case !strings.HasPrefix(uri.Value, "/") && uri.Value != "*":
		r.Warn(at, strict.Invalid("%s does not start with a slash, no path of a request is like it; add the slash", strict.Quote(uri.Value)))
	case strings.ContainsAny(uri.Value, "?#"):
		r.Warn(at, strict.Invalid("%s holds more than a path, which alone is compared; move the query to queryParams", strict.Quote(uri.Value)))
	case uri.Value != "*" && !strings.EqualFold(form, uri.Value):
		r.Warn(at, strict.Invalid("the path of a request is brought into one form before it is compared, and by default never like %s; write %s", strict.Quote(uri.Value), strict.Quote(form)))
	}
}

func (r reader) checkMethod(at *strict.Path, method *model.StringMatch) {
	if !isText(method) {
		return
	}
	upper := strings.ToUpper(method.Value)
	known := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
	if method.Value != upper && slices.Contains(known, upper) {
		r.Warn(at, strict.Invalid("methods are compared as they are written and %s is not %s; write the latter", strict.Quote(method.Value), strict.Quote(upper)))
	}
}

// normalised returns the form of a path that rules see with the settings of the
// default: backslashes and escaped slashes are slashes, several are one, dots
// are resolved, what needs no escape has none and what needs one has it. A last
// segment of dots may be the beginning of a longer one and stays.
//
// Source: Envoy, normalize_path and path_with_escaped_slashes_action; RFC 3986
// section 6.2.2.
func normalised(path string) string {
	var plain strings.Builder
	for i := 0; i < len(path); i++ {
		c := path[i]
		var code byte
		if n, err := fmt.Sscanf(path[i:min(i+3, len(path))], "%%%02x", &code); n == 1 && err == nil && i+2 < len(path) {
			if isUnreserved(code) || code == '/' || code == '\\' {
				c, i = code, i+2
			}
		}
		switch {
		case c == '\\':
			plain.WriteByte('/')
		case c <= ' ' || c >= 0x7f:
			fmt.Fprintf(&plain, "%%%02X", c)
		default:
			plain.WriteByte(c)
		}
	}
	segments := strings.Split(plain.String(), "/")
	var out []string
	for i, s := range segments {
		last := i == len(segments)-1
		switch {
		case i > 0 && !last && (s == "" || s == "."):
		case !last && s == "..":
			if len(out) > 1 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, s)
		}
	}
	return strings.Join(out, "/")
}

// isUnreserved reports whether c means the same with and without an escape.
// Source: RFC 3986 section 2.3.
func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
