// Package gateway turns ports into Envoy listeners, and the virtual hosts of a
// port into route tables.
//
// What goes in: a bind, the settings of the fleet, and virtual hosts that
// package routing made. What comes out: the Listener with its connection
// manager, the route tables in one of two layouts, and the two extension
// configs of the second.
//
//   - plain: one RouteConfiguration holds every virtual host; Envoy matches the
//     host itself.
//   - scoped: every host has a scope and a RouteConfiguration of its own, so
//     that a change costs the same among ten hosts and ten thousand. Envoy finds
//     a scope by the exact bytes of the authority; a small fixed program (see
//     fallback.go) takes care of wildcards, ports, upper case and trailing dots.
//
// Both layouts answer every request alike, and the destination sees the Host
// header as the client wrote it.
//
// This package alone decides the order of the HTTP filters (filters.go) and the
// limits and timeouts of a listener; docs/defaults.md gives their reasons.
// Nothing here reads a clock, a socket or a store; same input, same bytes.
package gateway

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	connlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

// ListenerInput is a plain-text HTTP port.
type ListenerInput struct {
	Bind model.Bind
	// Table is the name of the route table behind the port; see
	// [model.TableName].
	Table string
	// Scoped selects the scoped layout.
	Scoped bool
	// Settings are within the bounds that package settings enforces.
	Settings model.Settings
}

// Listener returns the listener of a plain-text HTTP port. It speaks HTTP/1.1
// and, to clients that start with its preface, HTTP/2. Its name is
// [model.ListenerName].
func Listener(in ListenerInput) *listenerv3.Listener {
	name := model.ListenerName(in.Bind)
	return &listenerv3.Listener{
		Name:       name,
		StatPrefix: statPrefix(name),
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address:       in.Bind.Address,
			PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: in.Bind.Port},
		}}},
		TrafficDirection:              corev3.TrafficDirection_OUTBOUND,
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(in.Settings.ListenerBufferBytes),
		FilterChains: []*listenerv3.FilterChain{{
			Name:    in.Table,
			Filters: networkFilters(in, statPrefix(name)),
		}},
	}
}

// ListenerNeeds returns what the listener of in asks for and cannot open
// without: the table in the plain layout, the two fallback programs in the
// scoped one. Scopes are not among them: Envoy asks for all of them at once.
func ListenerNeeds(in ListenerInput) []model.ResourceName {
	if !in.Scoped {
		return []model.ResourceName{{Type: model.TypeRoute, Name: in.Table}}
	}
	return []model.ResourceName{
		{Type: model.TypeExtension, Name: model.ExtensionFallback},
		{Type: model.TypeExtension, Name: model.ExtensionFallbackUpgrade},
	}
}

// networkFilters returns the network filters of a chain: the connection limit,
// which closes what is beyond it before a byte is parsed, then HTTP.
func networkFilters(in ListenerInput, stat string) []*listenerv3.Filter {
	limit := &connlimitv3.ConnectionLimit{
		StatPrefix:     stat,
		MaxConnections: wrapperspb.UInt64(uint64(in.Settings.ListenerConnections)),
	}
	return []*listenerv3.Filter{
		{Name: "envoy.filters.network.connection_limit", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(limit)}},
		{Name: "envoy.filters.network.http_connection_manager", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(connectionManager(in, stat))}},
	}
}

// statPrefix returns name without the characters that split a stat's name, so
// that one pattern of the stats allow-list covers every listener.
func statPrefix(name string) string {
	return strings.NewReplacer(".", "_", ":", "_").Replace(name)
}

// ads says that a resource comes over the aggregated stream and is waited for
// without a limit: the proxy never runs with half of what it needs.
func ads() *corev3.ConfigSource { return adsWithin(0) }

// pack encodes m deterministically; see encode.
func pack(m proto.Message) *anypb.Any {
	return &anypb.Any{
		TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()),
		Value:   encode(m),
	}
}
