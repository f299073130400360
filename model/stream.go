package model

import "time"

// FaultInjection delays and aborts requests on purpose.
type FaultInjection struct {
	Delay *FaultDelay
	Abort *FaultAbort
}

// FaultDelay holds back a share of the requests.
type FaultDelay struct {
	Percent float64 // 0 to 100
	Fixed   time.Duration
}

// FaultAbort answers a share of the requests with an error: HTTPStatus, or
// GRPCStatus when HasGRPC is set.
type FaultAbort struct {
	Percent    float64
	HTTPStatus uint32
	HasGRPC    bool
	GRPCStatus uint32
}

// Mirror sends a copy of a share of the requests to a destination and drops its
// answers.
type Mirror struct {
	// Field is the path in the object: "spec.http[0].mirrors[1]".
	Field       string
	Destination Destination
	Percent     float64
}

// CORSPolicy answers cross-origin preflights and marks answers.
type CORSPolicy struct {
	AllowOrigins     []StringMatch
	AllowMethods     []string
	AllowHeaders     []string
	ExposeHeaders    []string
	MaxAge           *time.Duration
	AllowCredentials *bool
	// ForwardUnmatched passes preflights of other origins on; true is Istio's
	// default.
	ForwardUnmatched bool
}

// TLSRule routes TLS connections that are passed through, by server name.
type TLSRule struct {
	Field   string // "spec.tls[0]"
	Matches []TLSMatch
	Route   []WeightedDestination
	// Fault is set when the rule cannot be served: its connections are closed.
	Fault *RuleFault
}

// TLSMatch is a conjunction of conditions on a connection.
type TLSMatch struct {
	Field           string
	SNI             []string // lower-case, exact or wildcard
	Port            uint32   // of the server; 0 means any
	Gateways        []GatewayRef
	MeshOnly        bool
	SourceLabels    map[string]string
	SourceNamespace string
	Subnets         []string // of the destination, CIDR
	// Fault is set when part of the match cannot be read; see [Match.Fault].
	Fault *RuleFault
}

// TCPRule routes connections by port.
type TCPRule struct {
	Field   string     // "spec.tcp[0]"
	Matches []TCPMatch // empty matches every connection
	Route   []WeightedDestination
	Fault   *RuleFault
}

// TCPMatch is a conjunction of conditions on a connection.
type TCPMatch struct {
	Field           string
	Port            uint32
	Gateways        []GatewayRef
	MeshOnly        bool
	SourceLabels    map[string]string
	SourceNamespace string
	SourceSubnet    string   // CIDR of the client
	Subnets         []string // of the destination, CIDR
	// Fault is set when part of the match cannot be read; see [Match.Fault].
	Fault *RuleFault
}
