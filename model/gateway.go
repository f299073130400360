package model

// Gateway opens ports and says which hosts are welcome there.
type Gateway struct {
	Meta
	Selector map[string]string
	Servers  []Server
}

// Protocol is what is spoken on a port, in the words of Istio's port protocol.
type Protocol string

// The protocols that a port may name.
const (
	ProtocolHTTP    Protocol = "HTTP"
	ProtocolHTTP2   Protocol = "HTTP2"
	ProtocolGRPC    Protocol = "GRPC"
	ProtocolGRPCWeb Protocol = "GRPC-WEB"
	ProtocolHTTPS   Protocol = "HTTPS"
	ProtocolTLS     Protocol = "TLS"
	ProtocolTCP     Protocol = "TCP"
	ProtocolUDP     Protocol = "UDP"
	ProtocolMongo   Protocol = "MONGO"
	ProtocolMySQL   Protocol = "MYSQL"
	ProtocolRedis   Protocol = "REDIS"
)

// IsHTTP reports whether p is plain-text HTTP of any version.
func (p Protocol) IsHTTP() bool {
	return p == ProtocolHTTP || p == ProtocolHTTP2 || p == ProtocolGRPC || p == ProtocolGRPCWeb
}

// IsStream reports whether p is proxied as bytes: TCP or a protocol over it.
func (p Protocol) IsStream() bool {
	return p == ProtocolTCP || p == ProtocolMongo || p == ProtocolMySQL || p == ProtocolRedis
}

// IsHTTP2 reports whether an upstream of protocol p is spoken to in HTTP/2.
func (p Protocol) IsHTTP2() bool { return p == ProtocolHTTP2 || p == ProtocolGRPC }

// Server is one entry of a gateway: a port and its hosts.
type Server struct {
	// Field is the path of the server in its object: "spec.servers[0]".
	Field    string
	Name     string
	PortName string
	Protocol Protocol
	Bind     Bind
	Hosts    []ServerHost
	// HTTPSRedirect answers plain HTTP with 301 to https.
	HTTPSRedirect bool
	// Passthrough routes TLS by server name without ending it (protocols HTTPS
	// and TLS).
	Passthrough bool
	// TLS is set when TLS ends here (protocols HTTPS and TLS, not Passthrough).
	TLS *ServerTLS
	// ProxyProtocol accepts the PROXY protocol in front of connections.
	ProxyProtocol *ProxyProtocolIn
	// MaxConnections bounds the open connections of the server; 0 leaves it to
	// the settings.
	MaxConnections uint32
}

// ProxyProtocolIn is from whom a listener takes the PROXY protocol.
type ProxyProtocolIn struct {
	// Trusted are CIDRs; connections of others are taken without it. Empty
	// trusts everybody.
	Trusted []string
}

// ServerHost is one host of a server: which route sets may claim it, and the
// DNS name they may claim.
type ServerHost struct {
	// Namespace restricts the route sets by namespace; "" allows any. "." is
	// already replaced by the gateway's own.
	Namespace string
	// DNS is lower-case: "a.example.com", "*.example.com" or "*".
	DNS string
}
