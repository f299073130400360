package model

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// RouteSet is a list of rules for some hosts behind some gateways: what an
// Istio VirtualService means.
type RouteSet struct {
	Meta
	// Hosts are lower-case DNS names, exact or wildcard, short names already
	// qualified.
	Hosts []string
	// Gateways are the gateways it binds to, in the order given.
	Gateways []GatewayRef
	// Mesh is set when the rules are (also) for sidecars.
	Mesh     bool
	HTTP     []HTTPRule
	TLS      []TLSRule
	TCP      []TCPRule
	ExportTo Visibility
}

// GatewayRef names a gateway by namespace and name.
type GatewayRef struct{ Namespace, Name string }

// HTTPRule is one entry of a route set. Exactly one of Route, Redirect, Direct,
// Delegate and Fault says what happens.
type HTTPRule struct {
	// Owner is the object that holds the rule when that is not the route set
	// itself: rules come from another set by delegation.
	Owner Ref
	// Field is the path of the rule in its object: "spec.http[3]".
	Field string
	Name  string
	// Matches are alternatives; fields within one are all required. Empty means
	// every request.
	Matches []Match

	Route    []WeightedDestination
	Redirect *Redirect
	Direct   *DirectResponse
	// Delegate names the route set whose rules take the place of this one.
	Delegate *Delegate
	// Fault replaces the action of a rule that cannot be served as written.
	Fault *RuleFault

	Rewrite *Rewrite
	Headers HeaderOperations
	// Timeout of the whole request; nil or 0 means none.
	Timeout *time.Duration
	// Retries is nil for the default policy.
	Retries *Retries
	Inject  *FaultInjection
	Mirrors []Mirror
	CORS    *CORSPolicy
}

// Delegate names a route set without hosts of its own.
type Delegate struct{ Namespace, Name string }

// RuleFault is why a rule, or one match of it, answers 500 or closes its
// connections instead of what was written.
type RuleFault struct {
	Reason Reason
}

// Match is a conjunction of conditions on a request.
type Match struct {
	// Field is the path in the object: "spec.http[3].match[0]".
	Field          string
	Name           string
	URI            *StringMatch
	IgnoreURICase  bool
	Scheme         *StringMatch
	Method         *StringMatch
	Authority      *StringMatch
	Headers        []KeyMatch
	WithoutHeaders []KeyMatch
	QueryParams    []KeyMatch
	// Port is the number of the server's port; 0 means any.
	Port uint32
	// Gateways overrides the gateways of the route set; empty means all of them.
	// MeshOnly is set when it lists nothing but the mesh.
	Gateways []GatewayRef
	MeshOnly bool
	// SourceLabels and SourceNamespace are of the proxy that routes.
	SourceLabels    map[string]string
	SourceNamespace string
	// StatPrefix groups the statistics of the route.
	StatPrefix string
	// Fault is set when part of the match cannot be read: what the rest of it
	// takes is refused, and never falls to a later rule that allows more.
	Fault *RuleFault
}

// MatchKind is how a [StringMatch] compares.
type MatchKind int

// The kinds of comparison.
const (
	MatchExact   MatchKind = iota
	MatchPrefix            // of the raw string, not of path segments
	MatchRegex             // RE2, whole value
	MatchPresent           // any value, even none
)

// StringMatch compares one string. Value is empty for [MatchPresent].
type StringMatch struct {
	Kind  MatchKind
	Value string
}

// KeyMatch compares the value behind a key: a header (lower-case) or a query
// parameter. Slices of it are sorted by key.
type KeyMatch struct {
	Key string
	StringMatch
}

// Destination is a place to send requests: a service's host, one of its ports
// (0: the only one, or the listener's) and a subset ("": all endpoints).
type Destination struct {
	Host   string
	Subset string
	Port   uint32
}

// WeightedDestination is a destination with its share.
type WeightedDestination struct {
	// Field is the path in the object: "spec.http[3].route[0]".
	Field       string
	Destination Destination
	Weight      uint32
	Headers     HeaderOperations
}

// Target is what became of a [Destination]: the cluster to send to, or the
// problem that keeps it from existing.
type Target struct {
	Cluster string // "" when missing
	Reason  Reason // why it is missing
	Message string // the same in a sentence
	// Hash is the consistent hash of the destination's policy; nil without one.
	Hash *ConsistentHash
	// Stream is what the policy says of TCP connections; nil without one.
	Stream *StreamPolicy
	// Dynamic is set when the cluster resolves the name that the client asked
	// for.
	Dynamic *DynamicTarget
}

// DynamicTarget bounds what a client may ask to be connected to: names below
// the service's host, on the service's port.
type DynamicTarget struct {
	Host string // as declared, exact or wildcard
	Port uint32
}

// Authority returns a RE2 expression for the authorities that the target
// accepts, without regard to case.
func (d DynamicTarget) Authority() string {
	name := regexp.QuoteMeta(d.Host)
	if rest, wild := strings.CutPrefix(d.Host, "*"); wild {
		name = "[^:/]+" + regexp.QuoteMeta(rest)
	}
	return "(?i)" + name + "(?::" + strconv.FormatUint(uint64(d.Port), 10) + ")?"
}

// StreamPolicy is the part of a policy that the TCP proxy in front of a
// destination carries out.
type StreamPolicy struct {
	IdleTimeout           *time.Duration
	MaxConnectionDuration *time.Duration
	Tunnel                *Tunnel
}

// RedirectPort says which port a redirect's Location carries.
type RedirectPort int

// The ways to derive the port of a redirect.
const (
	RedirectPortUnset           RedirectPort = iota // keep Envoy's default
	RedirectPortProtocolDefault                     // 80 for http, 443 for https
	RedirectPortRequest                             // the port of the listener
)

// Redirect answers with a Location.
type Redirect struct {
	URI           string // replaces the path; "" keeps it
	PrefixRewrite string // replaces the matched prefix; exclusive with URI
	Authority     string
	Scheme        string
	Port          uint32 // 0 unless given
	DerivePort    RedirectPort
	Code          uint32 // 301, 302, 303, 307 or 308
}

// DirectResponse answers without a destination.
type DirectResponse struct {
	Status uint32
	Body   []byte
}

// Rewrite changes the request before it is forwarded.
type Rewrite struct {
	URI       string // replaces the matched prefix or the whole exact path
	Authority string
	// Regex and Substitution rewrite the path; Regex "" means unset.
	Regex        string
	Substitution string
}

// HeaderOperations change the headers of requests and responses. Slices are
// sorted by name; an operation on "host" or ":authority" of the request is
// held in Rewrite-like fashion by SetAuthority.
type HeaderOperations struct {
	Request      HeaderChanges
	Response     HeaderChanges
	SetAuthority string
}

// HeaderChanges are the operations on one side.
type HeaderChanges struct {
	Set    []HeaderValue
	Add    []HeaderValue
	Remove []string
}

// HeaderValue is a header and its value.
type HeaderValue struct{ Name, Value string }

// DefaultRetries is how often a request is tried again if nothing is said.
//
// Source: Istio's default policy.
const DefaultRetries = 2

// Retries is when and how often a request is tried again.
type Retries struct {
	// Attempts beyond the first; 0 disables retries.
	Attempts      uint32
	PerTryTimeout *time.Duration
	// RetryOn are Envoy's conditions; StatusCodes the numeric ones.
	RetryOn     []string
	StatusCodes []uint32
	// RemoteLocalities is nil when not given.
	RemoteLocalities *bool
	// IgnorePreviousHosts is nil when not given (then true).
	IgnorePreviousHosts *bool
	// Backoff is the base interval; nil means Envoy's 25 ms.
	Backoff *time.Duration
}
