package model

import (
	"slices"
	"time"
)

// DestinationPolicy is how a destination is reached: what an Istio
// DestinationRule means.
type DestinationPolicy struct {
	Meta
	// Host is lower-case, exact or wildcard, short names already qualified.
	Host    string
	Traffic *TrafficPolicy // nil when not given
	Subsets []Subset
	// WorkloadSelector limits the policy to the proxies of its own namespace
	// that carry these labels; nil when not given.
	WorkloadSelector map[string]string
	ExportTo         Visibility
}

// Subset is a named part of a destination's endpoints.
type Subset struct {
	// Field is the path in the object: "spec.subsets[0]".
	Field  string
	Name   string
	Labels map[string]string
	// Traffic replaces the block it names; nil inherits.
	Traffic *TrafficPolicy
}

// Resolution is where the endpoints of a service come from.
type Resolution string

// The resolutions.
const (
	ResolutionStatic        Resolution = "STATIC"          // listed endpoints, or workloads by selector
	ResolutionDNS           Resolution = "DNS"             // every address of every name
	ResolutionDNSRoundRobin Resolution = "DNS_ROUND_ROBIN" // one address of one name at a time
	ResolutionNone          Resolution = "NONE"            // the original destination
	ResolutionSlices        Resolution = "SLICES"          // Kubernetes EndpointSlices
	ResolutionDynamic       Resolution = "DYNAMIC_DNS"     // the name that the client asked for
)

// Service is a set of hosts with ports and endpoints: what an Istio
// ServiceEntry or a Kubernetes Service means.
type Service struct {
	Meta
	// Hosts are lower-case DNS names.
	Hosts      []string
	Addresses  []string
	Ports      []ServicePort
	Resolution Resolution
	// Endpoints are listed in the object itself.
	Endpoints []Endpoint
	// WorkloadSelector picks [Workload] objects of the same namespace; nil
	// when not given.
	WorkloadSelector map[string]string
	// External is set for places outside the mesh.
	External bool
	// SubjectAltNames are verified towards the endpoints when the policy names
	// none.
	SubjectAltNames []string
	ExportTo        Visibility
	// HealthCheck is nil when the object asks for none.
	HealthCheck *HealthCheck
}

// HealthCheck probes the endpoints of a service.
type HealthCheck struct {
	// Path is asked by HTTP; "" only connects.
	Path string
	// Host is the authority of the request; "" is the service's host.
	Host               string
	Interval, Timeout  time.Duration
	Healthy, Unhealthy uint32 // answers in a row that change the verdict
}

// Visibility is to which namespaces an object is visible; nil means all.
// "." is already replaced by the object's own namespace; an empty list that is
// not nil means none.
type Visibility []string

// Shows reports whether an object with this visibility is seen from a
// namespace.
func (v Visibility) Shows(namespace string) bool {
	return v == nil || slices.Contains(v, namespace)
}

// ServicePort is one port of a service.
type ServicePort struct {
	Name     string
	Number   uint32
	Protocol Protocol
	// TargetPort is the endpoint's port number; 0 means Number, or the port of
	// the endpoint with this port's name.
	TargetPort uint32
	// TargetName is the endpoint's port by name (Kubernetes), "" if by number.
	TargetName string
}

// Health is what the source says of an endpoint.
type Health int

// The healths of an endpoint.
const (
	HealthHealthy   Health = iota
	HealthUnhealthy        // known, not to be used
	HealthDraining         // finishes what it has
)

// Endpoint is one address that serves.
type Endpoint struct {
	// Field is the path in the object: "spec.endpoints[0]".
	Field string
	// Address is an IP address, a DNS name, or "unix:///path".
	Address string
	// Ports maps port names to numbers where they differ from the service's.
	Ports    map[string]uint32
	Labels   map[string]string
	Locality Locality
	Weight   uint32 // 0 means 1
	Health   Health
}

// Locality is where an endpoint runs.
type Locality struct{ Region, Zone, SubZone string }

// Workload is one endpoint declared on its own: an Istio WorkloadEntry.
type Workload struct {
	Meta
	Endpoint Endpoint
}

// EndpointSlice is a part of the endpoints of a Kubernetes Service, which lives
// in the slice's namespace.
type EndpointSlice struct {
	Meta
	Service   string // name of the Service
	Ports     []SlicePort
	Endpoints []Endpoint
}

// SlicePort is a port that every endpoint of a slice serves.
type SlicePort struct {
	Name   string // name of the Service's port
	Number uint32
}
