package settings

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicegw/sluice/model"
)

// field is one setting and its name under spec.
type field struct {
	name string
	set  setter
}

// setter reads a value into one field of the settings. If it returns a fault,
// the settings are as before.
type setter func(*model.Settings, json.RawMessage) *fault

// fault is why a value is not taken.
type fault struct {
	reason  model.Reason
	message string
}

// fields returns every setting. Bounds are Envoy's own where it has some, else
// what keeps a slip of the pen from closing or opening the proxy altogether.
func fields() []field {
	return []field{
		{"listenerBufferBytes", size(4<<10, 1<<30, func(s *model.Settings) *uint32 { return &s.ListenerBufferBytes })},
		{"clusterBufferBytes", size(4<<10, 1<<30, func(s *model.Settings) *uint32 { return &s.ClusterBufferBytes })},
		{"requestBodyBufferBytes", size(1<<10, 1<<30, func(s *model.Settings) *uint32 { return &s.RequestBodyBufferBytes })},
		{"connectionIdleTimeout", period(time.Second, day, func(s *model.Settings) *time.Duration { return &s.ConnectionIdleTimeout })},
		{"streamIdleTimeout", periodOrOff(time.Millisecond, day, func(s *model.Settings) *time.Duration { return &s.StreamIdleTimeout })},
		{"requestTimeout", periodOrOff(time.Millisecond, day, func(s *model.Settings) *time.Duration { return &s.RequestTimeout })},
		{"requestHeadersTimeout", period(100*time.Millisecond, time.Hour, func(s *model.Settings) *time.Duration { return &s.RequestHeadersTimeout })},
		{"maxConcurrentStreams", count(1, math.MaxInt32, func(s *model.Settings) *uint32 { return &s.MaxConcurrentStreams })},
		{"streamWindowBytes", size(smallestWindow, math.MaxInt32, func(s *model.Settings) *uint32 { return &s.StreamWindowBytes })},
		{"connectionWindowBytes", size(smallestWindow, math.MaxInt32, func(s *model.Settings) *uint32 { return &s.ConnectionWindowBytes })},
		{"maxRequestHeadersKiB", count(1, 8192, func(s *model.Settings) *uint32 { return &s.MaxRequestHeadersKiB })},
		{"maxRequestHeaders", count(1, 10_000, func(s *model.Settings) *uint32 { return &s.MaxRequestHeaders })},
		{"maxResponseHeadersKiB", count(1, 8192, func(s *model.Settings) *uint32 { return &s.MaxResponseHeadersKiB })},
		{"maxResponseHeaders", count(1, 10_000, func(s *model.Settings) *uint32 { return &s.MaxResponseHeaders })},
		{"underscoreHeaders", toggle(func(s *model.Settings) *bool { return &s.UnderscoreHeaders })},
		{"mergeSlashes", toggle(func(s *model.Settings) *bool { return &s.MergeSlashes })},
		{"escapedSlashes", choice(func(s *model.Settings) *model.EscapedSlashes { return &s.EscapedSlashes },
			model.EscapedSlashesRedirect, model.EscapedSlashesForward, model.EscapedSlashesReject, model.EscapedSlashesKeep)},
		{"pathParameters", choice(func(s *model.Settings) *model.PathParameters { return &s.PathParameters },
			model.PathParametersSafe, model.PathParametersReject, model.PathParametersKeep)},
		{"trustedHops", count(0, 100, func(s *model.Settings) *uint32 { return &s.TrustedHops })},
		{"keepHeaderCase", toggle(func(s *model.Settings) *bool { return &s.KeepHeaderCase })},
		{"http10", toggle(func(s *model.Settings) *bool { return &s.HTTP10 })},
		{"listenerConnections", count(1, 10_000_000, func(s *model.Settings) *uint32 { return &s.ListenerConnections })},
		{"maxConnections", count(1, 10_000_000, func(s *model.Settings) *uint32 { return &s.MaxConnections })},
		{"maxHeapBytes", size(64<<20, 1<<40, func(s *model.Settings) *uint64 { return &s.MaxHeapBytes })},
		{"connectTimeout", period(time.Millisecond, 10*time.Minute, func(s *model.Settings) *time.Duration { return &s.ConnectTimeout })},
		{"drainTimeout", period(time.Second, time.Hour, func(s *model.Settings) *time.Duration { return &s.DrainTimeout })},
	}
}

const (
	day = 24 * time.Hour
	// smallestWindow is the initial window of HTTP/2 (RFC 9113 section 6.9.2)
	// and the least that Envoy takes.
	smallestWindow = 65535
)

// count reads a whole number from lowest to highest.
func count(lowest, highest uint32, to func(*model.Settings) *uint32) setter {
	return func(s *model.Settings, raw json.RawMessage) *fault {
		if !isNumber(raw) {
			return wrongType(raw, "a whole number without quotes")
		}
		n, err := strconv.ParseUint(string(raw), 10, 32)
		if err != nil || n < uint64(lowest) || n > uint64(highest) {
			return outside(raw, lowest, highest)
		}
		*to(s) = uint32(n)
		return nil
	}
}

// size reads bytes: a whole number, or a string with a unit such as "32KiB".
func size[T uint32 | uint64](lowest, highest T, to func(*model.Settings) *T) setter {
	return func(s *model.Settings, raw json.RawMessage) *fault {
		text := string(raw)
		if !isNumber(raw) && json.Unmarshal(raw, &text) != nil {
			return wrongType(raw, `a number of bytes or a string such as "32KiB"`)
		}
		n, ok := parseSize(text)
		if !ok || n < uint64(lowest) || n > uint64(highest) {
			return outside(raw, formatSize(uint64(lowest)), formatSize(uint64(highest)))
		}
		*to(s) = T(n)
		return nil
	}
}

// units are the powers of 1,024 that a size may be written in, largest first.
func units() []string { return []string{"GiB", "MiB", "KiB"} }

// parseSize reads "32768" or "32KiB"; fractions and signs are refused.
func parseSize(text string) (uint64, bool) {
	shift := 0
	for i, unit := range units() {
		if number, ok := strings.CutSuffix(text, unit); ok {
			text, shift = number, 10*(3-i)
			break
		}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return n << shift, err == nil && n<<shift>>shift == n
}

func formatSize(n uint64) string {
	for i, unit := range units() {
		if shift := 10 * (3 - i); n>>shift > 0 && n>>shift<<shift == n {
			return strconv.FormatUint(n>>shift, 10) + unit
		}
	}
	return strconv.FormatUint(n, 10)
}

// period reads a duration string such as "30s" or "1h30m".
func period(lowest, highest time.Duration, to func(*model.Settings) *time.Duration) setter {
	return func(s *model.Settings, raw json.RawMessage) *fault {
		d, ok := parseDuration(raw)
		if !ok && raw[0] != '"' {
			return wrongType(raw, `a duration such as "30s" or "1h30m"`)
		}
		if !ok || d < lowest || d > highest {
			return outside(raw, lowest, highest)
		}
		*to(s) = d
		return nil
	}
}

// periodOrOff is a period that "0s" turns off.
func periodOrOff(lowest, highest time.Duration, to func(*model.Settings) *time.Duration) setter {
	within := period(lowest, highest, to)
	return func(s *model.Settings, raw json.RawMessage) *fault {
		if d, ok := parseDuration(raw); ok && d == 0 {
			*to(s) = 0
			return nil
		}
		return within(s, raw)
	}
}

func parseDuration(raw json.RawMessage) (time.Duration, bool) {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return 0, false
	}
	d, err := time.ParseDuration(text)
	return d, err == nil
}

func toggle(to func(*model.Settings) *bool) setter {
	return func(s *model.Settings, raw json.RawMessage) *fault {
		var on bool
		if json.Unmarshal(raw, &on) != nil {
			return wrongType(raw, "true or false")
		}
		*to(s) = on
		return nil
	}
}

// choice is a field with some values.
func choice[V ~string](to func(*model.Settings) *V, values ...V) setter {
	return func(s *model.Settings, raw json.RawMessage) *fault {
		var value V
		if json.Unmarshal(raw, &value) != nil {
			return wrongType(raw, "a string")
		}
		if !slices.Contains(values, value) {
			return &fault{model.ReasonInvalidValue, fmt.Sprintf("%s is not one of %s", shown(raw), listed(values))}
		}
		*to(s) = value
		return nil
	}
}

// listed is "a, b and c".
func listed[V ~string](values []V) string {
	var out strings.Builder
	for i, v := range values {
		switch {
		case i == 0:
		case i == len(values)-1:
			out.WriteString(" and ")
		default:
			out.WriteString(", ")
		}
		out.WriteString(string(v))
	}
	return out.String()
}

func isNumber(raw json.RawMessage) bool {
	var n json.Number
	return json.Unmarshal(raw, &n) == nil && raw[0] != '"'
}

func wrongType(raw json.RawMessage, want string) *fault {
	return &fault{model.ReasonWrongType, fmt.Sprintf("%s does not fit; write %s", shown(raw), want)}
}

func outside(raw json.RawMessage, lowest, highest any) *fault {
	return &fault{model.ReasonInvalidValue, fmt.Sprintf("%s is not allowed; use a value from %v to %v", shown(raw), lowest, highest)}
}

// shown is a value as people see it in a message, cut short if it is long.
func shown(raw json.RawMessage) string {
	const longest = 60
	if len(raw) > longest {
		return strings.ToValidUTF8(string(raw[:longest]), "") + "…"
	}
	return string(raw)
}
