package model

import "time"

// Settings are the defaults of every proxy of a fleet that people may change:
// limits, timeouts and what is trusted. [DefaultSettings] are safe at the edge.
type Settings struct {
	Meta
	// ListenerBufferBytes and ClusterBufferBytes bound what one connection
	// holds in memory.
	ListenerBufferBytes uint32
	ClusterBufferBytes  uint32
	// RequestBodyBufferBytes is how much of the body of a request is kept to send
	// it again; a larger one is not retried.
	RequestBodyBufferBytes uint32
	// ConnectionIdleTimeout closes a connection without requests.
	ConnectionIdleTimeout time.Duration
	// StreamIdleTimeout ends a request on which nothing moves; 0 disables.
	StreamIdleTimeout time.Duration
	// RequestTimeout bounds the receipt of a whole request; 0 disables.
	RequestTimeout time.Duration
	// RequestHeadersTimeout bounds the receipt of the headers.
	RequestHeadersTimeout time.Duration
	MaxConcurrentStreams  uint32 // HTTP/2, per connection
	StreamWindowBytes     uint32 // HTTP/2
	ConnectionWindowBytes uint32 // HTTP/2
	MaxRequestHeadersKiB  uint32
	MaxRequestHeaders     uint32
	// MaxResponseHeadersKiB and MaxResponseHeaders bound what destinations answer.
	MaxResponseHeadersKiB uint32
	MaxResponseHeaders    uint32
	// UnderscoreHeaders keeps request headers with underscores.
	UnderscoreHeaders bool
	// MergeSlashes folds // in paths. EscapedSlashes is what happens to %2F.
	MergeSlashes   bool
	EscapedSlashes EscapedSlashes
	// PathParameters is what happens to ";" in paths.
	PathParameters PathParameters
	// TrustedHops is the number of proxies in front whose X-Forwarded-For
	// entries are believed.
	TrustedHops uint32
	// HTTP10 accepts HTTP/1.0.
	HTTP10 bool
	// KeepHeaderCase sends HTTP/1 headers on in the case in which they came.
	KeepHeaderCase bool
	// ListenerConnections and MaxConnections bound open connections of a
	// listener and of the proxy.
	ListenerConnections uint32
	MaxConnections      uint32
	// MaxHeapBytes is where the proxy starts to shed load.
	MaxHeapBytes uint64
	// ConnectTimeout bounds a connection attempt to an endpoint.
	ConnectTimeout time.Duration
	// DrainTimeout is how long a replaced listener or chain lets its
	// connections finish.
	DrainTimeout time.Duration
}

// EscapedSlashes is what happens to an escaped slash in a path.
type EscapedSlashes string

// The treatments of escaped slashes.
const (
	EscapedSlashesRedirect EscapedSlashes = "UnescapeAndRedirect"
	EscapedSlashesForward  EscapedSlashes = "UnescapeAndForward"
	EscapedSlashesReject   EscapedSlashes = "Reject"
	EscapedSlashesKeep     EscapedSlashes = "Keep"
)

// PathParameters is what happens to a ";" in a path.
type PathParameters string

// The treatments of path parameters.
const (
	// PathParametersSafe refuses those of dot segments and of empty ones.
	PathParametersSafe   PathParameters = "RejectInDotSegments"
	PathParametersReject PathParameters = "Reject"
	PathParametersKeep   PathParameters = "Keep"
)

// DefaultSettings returns the edge-safe defaults; docs/defaults.md gives the
// reason of each.
func DefaultSettings() Settings {
	return Settings{
		ListenerBufferBytes:    32 << 10,
		ClusterBufferBytes:     32 << 10,
		RequestBodyBufferBytes: 1 << 20,
		ConnectionIdleTimeout:  time.Hour,
		RequestHeadersTimeout:  30 * time.Second,
		MaxConcurrentStreams:   100,
		StreamWindowBytes:      64 << 10,
		ConnectionWindowBytes:  1 << 20,
		MaxRequestHeadersKiB:   60,
		MaxRequestHeaders:      100,
		MaxResponseHeadersKiB:  256,
		MaxResponseHeaders:     1000,
		MergeSlashes:           true,
		EscapedSlashes:         EscapedSlashesRedirect,
		PathParameters:         PathParametersSafe,
		ListenerConnections:    10_000,
		MaxConnections:         50_000,
		MaxHeapBytes:           2 << 30,
		ConnectTimeout:         10 * time.Second,
		DrainTimeout:           30 * time.Second,
	}
}
