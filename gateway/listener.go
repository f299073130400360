// Package gateway turns ports into Envoy listeners, and the virtual hosts of a
// port into route tables.
//
// What goes in: a bind, the settings of the fleet, virtual hosts that package
// routing made, for ports that carry bytes the servers with their route sets,
// and for TLS the hosts with the names of their certificates. What comes out: the
// Listener, for HTTP with its connection manager, for bytes with a chain per
// rule, for TLS with a chain per host (see [StreamListener]), and beside it the
// one for HTTP/3; the route tables in one of two layouts, and the extension
// config of the second.
//
//   - plain: one RouteConfiguration holds every virtual host; Envoy matches the
//     host itself.
//   - scoped: every host has a scope and a RouteConfiguration of its own, so
//     that a change costs the same among ten hosts and ten thousand. Envoy finds
//     a scope by the exact bytes of the authority; a small fixed program (see
//     fallback.go) takes care of wildcards, ports, upper case and trailing dots.
//
// Both layouts answer every request alike, and the destination sees the Host
// header as the client wrote it. A listener is the same in both (see layout.go); a
// TLS host may read a plain table by its name instead, which then stays plain.
//
// This package alone decides the order of the HTTP filters (filters.go) and the
// limits and timeouts of a listener; docs/defaults.md gives their reasons.
// Nothing here reads a clock, a socket or a store; same input, same bytes.
package gateway

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	dfpcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

const (
	// A client that is gone without a word is found in 6.5 minutes.
	keepaliveTimeSeconds     = 300
	keepaliveIntervalSeconds = 30
	keepaliveProbes          = 3
)

// ListenerInput is a plain-text HTTP port.
type ListenerInput struct {
	Bind model.Bind
	// Table is the name of the route table behind the port; see [model.Table].
	Table string
	// Settings are within the bounds that package settings enforces.
	Settings model.Settings
	// GRPCWeb translates gRPC-Web into gRPC: a server of the port has protocol
	// GRPC-WEB.
	GRPCWeb bool
	// ProxyProtocol takes the PROXY protocol, versions 1 and 2; nil does not.
	ProxyProtocol *model.ProxyProtocolIn
	// MaxConnections bounds the open connections of the port; 0 leaves it to
	// Settings.ListenerConnections.
	MaxConnections uint32
	// DNSCache resolves names that clients ask for. It must equal that of the
	// clusters that connect to them; nil when there are none.
	DNSCache *dfpcommonv3.DnsCacheConfig
}

// Listener returns the listener of a plain-text HTTP port. It speaks HTTP/1.1
// and, to clients that start with its preface, HTTP/2. Its name is
// [model.ListenerName].
func Listener(in ListenerInput) *listenerv3.Listener {
	l := tcpListener(in.Bind, in.Settings)
	connections := limit(in.MaxConnections, in.Settings)
	l.ListenerFilters = listenerFilters(in.ProxyProtocol, l.GetStatPrefix())
	l.FilterChains = []*listenerv3.FilterChain{{
		Name: in.Table,
		Filters: append(guards(in.ProxyProtocol, connections, l.GetStatPrefix()),
			managerFilters(manager{
				table: in.Table, scopes: true, settings: in.Settings, stat: l.GetStatPrefix(),
				grpcWeb: in.GRPCWeb, dnsCache: in.DNSCache,
			})...),
	}}
	return l
}

// tcpListener returns what the listeners of every protocol over TCP have in
// common. Keep-alive finds clients that vanished: no timeout of ours does.
func tcpListener(bind model.Bind, s model.Settings) *listenerv3.Listener {
	l := bareListener(bind, corev3.SocketAddress_TCP)
	l.PerConnectionBufferLimitBytes = wrapperspb.UInt32(s.ListenerBufferBytes)
	l.TcpKeepalive = &corev3.TcpKeepalive{
		KeepaliveTime:     wrapperspb.UInt32(keepaliveTimeSeconds),
		KeepaliveInterval: wrapperspb.UInt32(keepaliveIntervalSeconds),
		KeepaliveProbes:   wrapperspb.UInt32(keepaliveProbes),
	}
	return l
}

func bareListener(bind model.Bind, protocol corev3.SocketAddress_Protocol) *listenerv3.Listener {
	name := model.ListenerName(bind)
	return &listenerv3.Listener{
		Name:       name,
		StatPrefix: statPrefix(name),
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Protocol:      protocol,
			Address:       bind.Address,
			PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: bind.Port},
		}}},
		TrafficDirection: corev3.TrafficDirection_OUTBOUND,
	}
}

// limit returns how many connections may be open: own, unless it is 0.
func limit(own uint32, s model.Settings) uint32 {
	if own > 0 {
		return own
	}
	return s.ListenerConnections
}

// ListenerNeeds returns what the listener of in asks for and cannot open
// without: what finds the scopes of its table. Scopes are not among them: Envoy
// asks for all of them at once.
func ListenerNeeds(in ListenerInput) []model.ResourceName { return tableNeeds(in.Table, true) }

// tableNeeds returns what a connection manager asks for that finds that table by
// scope, or by its name.
func tableNeeds(table string, scopes bool) []model.ResourceName {
	if !scopes {
		return []model.ResourceName{{Type: model.TypeRoute, Name: table}}
	}
	return []model.ResourceName{
		{Type: model.TypeExtension, Name: model.ExtensionFallback},
		{Type: model.TypeExtension, Name: model.ExtensionTable(table)},
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
