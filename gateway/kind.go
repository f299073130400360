package gateway

import "github.com/sluicegw/sluice/model"

// PortKind is the kind of listener that a server needs.
type PortKind int

// The kinds of listener.
const (
	KindHTTP   PortKind = iota // [Listener]
	KindStream                 // [StreamListener], over TCP
	KindUDP                    // [StreamListener], over UDP
	KindTLS                    // TLS that ends here
)

// Kind returns the kind of listener that a server of protocol p needs.
// Passthrough is [model.Server.Passthrough].
func Kind(p model.Protocol, passthrough bool) PortKind {
	switch {
	case p.IsHTTP():
		return KindHTTP
	case p == model.ProtocolUDP:
		return KindUDP
	case p == model.ProtocolHTTPS || p == model.ProtocolTLS:
		if passthrough {
			return KindStream
		}
		return KindTLS
	default:
		return KindStream
	}
}

// Compatible reports whether two servers may share a bind. HTTP servers may, and
// TLS servers: they are told apart by host. One server that takes bytes as they
// come may stand beside those that pass TLS through, and gets what is not TLS or
// names no host of theirs; unless its clients wait for the server's greeting,
// because telling TLS apart needs the client's first bytes. UDP and TCP are not
// compatible although a machine could tell them apart: a bind has one listener.
func Compatible(a, b *model.Server) bool {
	kind := Kind(a.Protocol, a.Passthrough)
	if kind != Kind(b.Protocol, b.Passthrough) || kind == KindUDP {
		return false
	}
	if kind != KindStream || a.Passthrough && b.Passthrough {
		return true
	}
	if !a.Passthrough && !b.Passthrough {
		return false
	}
	return a.Protocol != model.ProtocolMySQL && b.Protocol != model.ProtocolMySQL
}
