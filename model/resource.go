package model

import (
	"cmp"
	"strings"
)

// ResourceType is an xDS type URL.
type ResourceType string

// The resource types, as type URLs.
const (
	TypeCluster   ResourceType = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	TypeEndpoint  ResourceType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	TypeListener  ResourceType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	TypeRoute     ResourceType = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	TypeScope     ResourceType = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
	TypeExtension ResourceType = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	TypeSecret    ResourceType = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// Short returns the word people use for a type: "cluster", "endpoint",
// "listener", "route", "scope", "extension", "secret"; the URL if unknown.
func (t ResourceType) Short() string {
	switch t {
	case TypeCluster:
		return "cluster"
	case TypeEndpoint:
		return "endpoint"
	case TypeListener:
		return "listener"
	case TypeRoute:
		return "route"
	case TypeScope:
		return "scope"
	case TypeExtension:
		return "extension"
	case TypeSecret:
		return "secret"
	}
	return string(t)
}

// ResourceName identifies a resource among all that a proxy may hold.
type ResourceName struct {
	Type ResourceType
	Name string
}

// Compare orders names by type, then name.
func (n ResourceName) Compare(o ResourceName) int {
	return cmp.Or(strings.Compare(string(n.Type), string(o.Type)), strings.Compare(n.Name, o.Name))
}

// Resource is one xDS resource, ready to send: bytes and their hash, shared by
// all streams and never changed.
type Resource struct {
	ResourceName
	// Bytes is the deterministic protobuf encoding of the message, without Any.
	Bytes []byte
	// OnRequest is set for a wildcard of [OnDemandName] below which certificates
	// are made when somebody asks for a name: there are no bytes to send.
	OnRequest bool
	// Hash is xxhash64 of Bytes: its hexadecimal form is the xDS version.
	Hash uint64
	// Needs are resources that Envoy asks for once it has this one, and without
	// which this one does not work: a cluster its endpoints, a scope its routes,
	// a listener its routes and extension configs.
	Needs []ResourceName
	// Owners are the objects whose authors answer for this resource, first the
	// one that most likely holds a fault.
	Owners []Ref
}

// Change is one step from one set of resources to the next. A resource is in
// at most one of the two lists.
type Change struct {
	Upserts  []*Resource
	Removals []ResourceName
}

// Empty reports whether c changes nothing.
func (c Change) Empty() bool { return len(c.Upserts) == 0 && len(c.Removals) == 0 }
