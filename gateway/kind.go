package gateway

import "github.com/sluicegw/sluice/model"

// PortKind is the kind of listener that a server needs.
type PortKind int

// The kinds of listener.
const (
	KindHTTP   PortKind = iota // [Listener]
	KindStream                 // [StreamListener], over TCP: bytes and TLS
	KindUDP                    // [StreamListener], over UDP
)

// Kind returns the kind of listener that a server of protocol p needs. TLS is of
// one kind, whether it ends here or is passed through: server names tell the two
// apart.
func Kind(p model.Protocol) PortKind {
	switch {
	case p.IsHTTP():
		return KindHTTP
	case p == model.ProtocolUDP:
		return KindUDP
	default:
		return KindStream
	}
}

// isTLS reports whether clients of s speak TLS, which ends here or behind.
func isTLS(s *model.Server) bool {
	return s.Protocol == model.ProtocolHTTPS || s.Protocol == model.ProtocolTLS
}

// Compatible reports whether two servers may share a bind. HTTP servers may, and
// TLS servers: they are told apart by host. One server that takes bytes as they
// come may stand beside those of TLS, and gets what is not TLS or names no host of
// theirs; unless its clients wait for the server's greeting, because telling TLS
// apart needs the client's first bytes. UDP and TCP are not compatible although a
// machine could tell them apart: a bind has one listener.
func Compatible(a, b *model.Server) bool {
	kind := Kind(a.Protocol)
	if kind != Kind(b.Protocol) || kind == KindUDP {
		return false
	}
	if kind != KindStream || isTLS(a) && isTLS(b) {
		return true
	}
	if !isTLS(a) && !isTLS(b) {
		return false
	}
	return a.Protocol != model.ProtocolMySQL && b.Protocol != model.ProtocolMySQL
}
