package model

import (
	"net/netip"
	"strings"
	"time"
)

// TrafficPolicy is how one destination, subset or port is reached. A nil block
// was not given: of a subset it inherits the host's block, of a port it stands
// for the defaults (Istio replaces whole policies by port).
type TrafficPolicy struct {
	LoadBalancer   *LoadBalancer
	ConnectionPool *ConnectionPool
	Outlier        *OutlierDetection
	TLS            *UpstreamTLS
	Ports          []PortPolicy // sorted by port
	Tunnel         *Tunnel
	ProxyProtocol  ProxyProtocol
	RetryBudget    *RetryBudget
}

// PortPolicy replaces the policy for one port of the service.
type PortPolicy struct {
	Port           uint32
	LoadBalancer   *LoadBalancer
	ConnectionPool *ConnectionPool
	Outlier        *OutlierDetection
	TLS            *UpstreamTLS
}

// LoadBalancer says how an endpoint is picked.
type LoadBalancer struct {
	// Simple is "" when Hash is set or nothing was said.
	Simple   Balancing
	Hash     *ConsistentHash
	Locality *LocalityBalancing
	Zone     *ZoneAware
	Warmup   *Warmup
}

// Balancing is a simple load balancing algorithm; "" is the default, least
// request.
type Balancing string

// The simple algorithms.
const (
	BalancingDefault      Balancing = ""
	BalancingLeastRequest Balancing = "LEAST_REQUEST"
	BalancingRoundRobin   Balancing = "ROUND_ROBIN"
	BalancingRandom       Balancing = "RANDOM"
	BalancingPassthrough  Balancing = "PASSTHROUGH"
)

// ConsistentHash sends equal keys to the same endpoint. Exactly one of Header,
// Cookie, SourceIP and QueryParameter is set.
type ConsistentHash struct {
	Header         string // lower-case
	Cookie         *HashCookie
	SourceIP       bool
	QueryParameter string
	// MinimumRingSize is for the ring hash (0: 1024); TableSize selects Maglev
	// when not 0, as does Maglev alone with the default 65537.
	MinimumRingSize uint64
	Maglev          bool
	TableSize       uint64
}

// HashCookie is a cookie to hash by. TTL nil: only a cookie that the client
// already has counts; else one is made, for the session if TTL is 0.
type HashCookie struct {
	Name       string
	Path       string
	TTL        *time.Duration
	Attributes []HeaderValue
}

// LocalityBalancing weighs and orders endpoints by where they run. Localities
// are written "region/zone/subzone", "*" for any.
type LocalityBalancing struct {
	// Enabled is nil when not given.
	Enabled          *bool
	Distribute       []Distribution
	Failover         []Failover
	FailoverPriority []string // label keys, or key=value
}

// Distribution sends the traffic of one locality to others by percent.
type Distribution struct {
	From string
	To   []LocalityShare // sorted by locality; percents sum to 100
}

// LocalityShare is a locality and its percentage.
type LocalityShare struct {
	Locality string
	Percent  uint32
}

// Failover names the region that stands in for another.
type Failover struct{ From, To string }

// ZoneAware is Envoy's zone-aware routing.
type ZoneAware struct {
	Enabled          *bool
	Failover         []Failover
	FailoverPriority []string
	MinClusterSize   *uint32
}

// Warmup ramps a new endpoint up.
type Warmup struct {
	Duration       time.Duration
	MinimumPercent float64 // 0 means 10
	Aggression     float64 // 0 means 1
}

// ConnectionPool bounds the connections to a destination. Zero counts mean no
// limit, nil durations the default.
type ConnectionPool struct {
	MaxConnections        uint32
	ConnectTimeout        *time.Duration
	Keepalive             *TCPKeepalive
	MaxConnectionDuration *time.Duration
	TCPIdleTimeout        *time.Duration

	HTTP1MaxPendingRequests  uint32
	HTTP2MaxRequests         uint32
	MaxRequestsPerConnection uint32
	// MaxRetries is nil when not given: no limit.
	MaxRetries           *uint32
	HTTPIdleTimeout      *time.Duration
	H2Upgrade            H2Upgrade
	UseClientProtocol    bool
	MaxConcurrentStreams uint32
	HTTP2Keepalive       *HTTP2Keepalive
}

// TCPKeepalive are socket options; zero values leave the system's.
type TCPKeepalive struct {
	Probes         uint32
	Time, Interval time.Duration
}

// HTTP2Keepalive pings upstream connections.
type HTTP2Keepalive struct{ Interval, Timeout time.Duration }

// H2Upgrade says whether HTTP/1.1 ports are spoken to in HTTP/2.
type H2Upgrade int

// The upgrade policies.
const (
	H2UpgradeDefault H2Upgrade = iota
	H2UpgradeNever
	H2UpgradeAlways
)

// OutlierDetection ejects endpoints that fail. Nil means Istio's default.
type OutlierDetection struct {
	Consecutive5xx         *uint32
	ConsecutiveGateway     *uint32
	SplitLocalOrigin       bool
	ConsecutiveLocalOrigin *uint32
	Interval               *time.Duration
	BaseEjectionTime       *time.Duration
	MaxEjectionPercent     uint32
	MinHealthPercent       uint32
	HTTPCodes              []uint32 // sorted
}

// TLSMode is how a destination is spoken to.
type TLSMode string

// The modes towards a destination.
const (
	TLSDisable TLSMode = "DISABLE"
	TLSSimple  TLSMode = "SIMPLE"
	TLSMutual  TLSMode = "MUTUAL"
)

// UpstreamTLS is TLS towards a destination. The server is verified unless
// InsecureSkipVerify is set; without CA file or credential by the roots of the
// machine.
type UpstreamTLS struct {
	// Field is the path in the object, for problems: "spec.trafficPolicy.tls".
	Field string
	Mode  TLSMode
	// Files at the proxy.
	CertificateFile, KeyFile, CAFile, CRLFile string
	// Credential names a Secret in the namespace of the policy.
	Credential         string
	SubjectAltNames    []string
	SNI                string
	InsecureSkipVerify bool
}

// Tunnel wraps TCP in an HTTP CONNECT or POST to the destination.
type Tunnel struct {
	Post       bool
	TargetHost string
	TargetPort uint32
}

// ProxyProtocol is the version of the PROXY protocol; 0 is none.
type ProxyProtocol int

// RetryBudget bounds retries by the number of active requests.
type RetryBudget struct {
	Percent        float64 // of active and pending requests
	MinConcurrency uint32
	// Interval is nil when not given.
	Interval *time.Duration
}

// SANType is the kind of a subject alternative name.
type SANType int

// The kinds.
const (
	SANDNS SANType = iota
	SANIP
	SANURI
	SANEmail
)

// SANTypeOf returns the kind that a name looks like: a URI has "://", an e-mail
// address "@".
func SANTypeOf(name string) SANType {
	if _, err := netip.ParseAddr(name); err == nil {
		return SANIP
	}
	switch {
	case strings.Contains(name, "://"):
		return SANURI
	case strings.Contains(name, "@"):
		return SANEmail
	}
	return SANDNS
}
