package main

import (
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/model"
)

// busy says, in the words of Envoy, that somebody else holds the address of a
// listener; "" when nobody does.
func (g *gateway) busy(r *model.Resource) string {
	l := new(listenerv3.Listener)
	if proto.Unmarshal(r.Bytes, l) != nil {
		return ""
	}
	socket := l.GetAddress().GetSocketAddress()
	ip, err := netip.ParseAddr(socket.GetAddress())
	if err != nil {
		return ""
	}
	network := "tcp"
	if socket.GetProtocol() == corev3.SocketAddress_UDP {
		network = "udp"
	}
	addr := netip.AddrPortFrom(ip, uint16(socket.GetPortValue()))
	if who := g.supervisor.Holder(network, addr); who != "" {
		return "cannot bind '" + addr.String() + "': Address already in use by " + who
	}
	return ""
}
