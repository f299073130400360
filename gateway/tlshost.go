package gateway

import (
	"fmt"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/sluicegw/sluice/gateway/handshake"
	"github.com/sluicegw/sluice/model"
)

// TLSHost is a host of a port whose TLS ends here. It has a filter chain of its
// own, named "tls/HOST", and a context of its own; the connection manager is that
// of its table.
//
// A host that cannot be served is withheld: its chain has no filters and closes
// every connection, so that none falls to a wildcard next to it and no other host
// waits for a certificate that does not come.
type TLSHost struct {
	Host   string // the server name: exact, "*.example.com", or "*" for any
	Server *model.Server
	// Table names the route table behind a server of protocol HTTPS. Without Scopes
	// it is read by that name and has to stay in the plain layout: for hosts with a
	// few exact names, because what finds scopes costs Envoy 0.3 MB for each chain.
	Table  string
	Scopes bool
	// Certificates are names of secrets, one or two; none withholds the host.
	Certificates []string
	// Authorities names the secret of those who sign clients' certificates; "" is
	// none. A mutual mode without authorities, pins and InsecureSkipVerify is
	// withheld, with a problem.
	Authorities string
	Gateway     model.Ref
	// Bindings have the TCP rules of a server of protocol TLS, oldest first. A
	// host without a rule closes its connections.
	Bindings []StreamBinding
}

// OnDemand is a chain for all TLS whose server name no other chain of the port
// has. Its certificates are fetched by that name; see [model.OnDemandName].
//
// Envoy looks for a chain before it looks for a certificate: a host that a
// wildcard chain covers needs a chain of its own, or the wildcard takes it.
type OnDemand struct {
	// Server gives versions, cipher suites and limits.
	Server *model.Server
	Table  string
}

// isHTTP reports whether HTTP is inside, and not bytes.
func (h *TLSHost) isHTTP() bool { return h.Server.Protocol != model.ProtocolTLS }

// hasHTTP3 reports whether h is served over QUIC too. Clients with certificates
// are not: that is for TCP.
func (h *TLSHost) hasHTTP3() bool {
	t := h.Server.TLS
	return t.HTTP3 && t.Mode == model.ServerTLSSimple && h.isHTTP() && (t.MaxVersion == "" || t.MaxVersion == model.TLS13)
}

// alpn returns the protocols inside. Bytes name none: a client that insists on
// one could not be told which.
func alpn(http bool) []string {
	if http {
		return []string{"h2", "http/1.1"}
	}
	return nil
}

func (s *stream) handshake(h *TLSHost) handshake.Input {
	return handshake.Input{
		TLS: h.Server.TLS, ALPN: alpn(h.isHTTP()),
		Certificates: h.Certificates, Authorities: h.Authorities, Tickets: s.in.Tickets,
	}
}

// endTLS gives out the context of h, and reports whether h is served.
func (s *stream) endTLS(out *listenerv3.FilterChain, h *TLSHost) bool {
	in := s.handshake(h)
	if !handshake.Servable(in) {
		return false
	}
	out.TransportSocket = transportSocket(handshake.Context(in))
	out.TransportSocketConnectTimeout = handshakeTimeout()
	return true
}

// servers returns the servers of the port, oldest first: those of the input, then
// those that only its hosts name.
func (s *stream) servers() []*StreamServer {
	out := make([]*StreamServer, len(s.in.Servers), len(s.in.Servers)+1)
	listed := map[*model.Server]bool{}
	for i := range s.in.Servers {
		out[i] = &s.in.Servers[i]
		listed[out[i].Server] = true
	}
	for i := range s.in.TLS {
		if h := &s.in.TLS[i]; !listed[h.Server] {
			listed[h.Server] = true
			out = append(out, &StreamServer{Gateway: h.Gateway, Server: h.Server})
		}
	}
	if o := s.in.OnDemand; o != nil && !listed[o.Server] {
		out = append(out, &StreamServer{Server: o.Server})
	}
	return out
}

// claims returns the chains of servers by rule and by host, an older server's
// first; that of OnDemand is none of them, but nothing else has its condition.
func (s *stream) claims(servers []*StreamServer) []chain {
	if s.onDemand(servers) {
		s.holders["tls/*"] = holder{}
	}
	hosts := map[*model.Server][]*TLSHost{}
	for i := range s.in.TLS {
		hosts[s.in.TLS[i].Server] = append(hosts[s.in.TLS[i].Server], &s.in.TLS[i])
	}
	var out []chain
	for _, server := range servers {
		if !isTLS(server.Server) || server.Server.Passthrough {
			out = append(out, s.chains(chain{server: server})...)
			continue
		}
		for _, h := range hosts[server.Server] {
			out = append(out, s.hostChains(server, h)...)
		}
	}
	return out
}

// onDemand reports whether the port has a chain for all other TLS.
func (s *stream) onDemand(servers []*StreamServer) bool {
	return s.in.OnDemand != nil && slices.ContainsFunc(servers, func(t *StreamServer) bool { return t.Server == s.in.OnDemand.Server })
}

// hostChains returns the chains of h: one, but for bytes one for each condition
// of its rules.
func (s *stream) hostChains(server *StreamServer, h *TLSHost) []chain {
	if held, ok := s.holders["tls/"+h.Host]; ok {
		s.occupied(h, held)
		return nil
	}
	s.holders["tls/"+h.Host] = holder{host: h}
	if len(h.Certificates) > 0 && !handshake.Servable(s.handshake(h)) {
		s.report(h.Gateway, model.Problem{
			Field: h.Server.Field + ".tls", Reason: model.ReasonMissingField, Severity: model.SeverityError,
			Message: fmt.Sprintf("mode %s has no authorities to hold the certificates of clients against, so connections are closed; name them", h.Server.TLS.Mode),
		})
	}
	if !h.isHTTP() && handshake.Servable(s.handshake(h)) {
		of := chain{server: &StreamServer{Gateway: h.Gateway, Server: h.Server, Bindings: h.Bindings}, host: h}
		if chains := s.chains(of); len(chains) > 0 {
			return chains
		}
	}
	return []chain{{server: server, host: h, keys: []string{"*"}}}
}

// occupied reports that held has the server name of h.
func (s *stream) occupied(h *TLSHost, held holder) {
	var by string
	switch {
	case held.host != nil:
		by = fmt.Sprintf("%s of the older %s ends its TLS", held.host.Server.Field, held.host.Gateway)
	case held.set != nil:
		by = fmt.Sprintf("%s of %s passes it through at a server that is older", held.field, held.set.Ref)
	default:
		by = "hosts of the port share a chain that takes it"
	}
	s.report(h.Gateway, model.Problem{
		Field: h.Server.Field + ".hosts", Reason: model.ReasonHostConflict, Severity: model.SeverityError,
		Message: fmt.Sprintf("server name %q of port %s is not served here, because %s; remove one of the two", h.Host, s.in.Bind, by),
	})
}

// ended reports that TLS for key ends at an older server, h, and is not passed
// through as c asks; h is nil for the chain of all other TLS.
func (s *stream) ended(set *model.RouteSet, c *condition, h *TLSHost, key string) {
	by := "at the chain that hosts of the port share"
	if h != nil {
		by = fmt.Sprintf("at %s of the older %s", h.Server.Field, h.Gateway)
	}
	s.report(set.Ref, model.Problem{
		Field: c.field + ".sniHosts", Reason: model.ReasonHostConflict, Severity: model.SeverityError,
		Message: fmt.Sprintf("server name %q of port %s is not passed through, because its TLS ends %s; remove one of the two", key, s.in.Bind, by),
	})
}

func transportSocket(context *tlsv3.DownstreamTlsContext) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(context)},
	}
}
