package gateway

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	quicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/quic/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/gateway/handshake"
	"github.com/sluicegw/sluice/model"
)

// QUICListener returns the listener for HTTP/3 beside that of [StreamListener],
// named [model.QUICName]: on the UDP port of the same number, with a chain for each
// host whose server asks for it, in mode SIMPLE. The responses of those hosts over
// TCP say so. It is nil when there is none.
func QUICListener(in StreamInput) *listenerv3.Listener {
	s := newStream(in)
	l := bareListener(in.Bind, corev3.SocketAddress_UDP)
	l.Name = model.QUICName(in.Bind)
	l.StatPrefix = statPrefix(l.GetName())
	served, others := s.quicHosts()
	for _, h := range served {
		l.FilterChains = append(l.FilterChains, s.quicChain(h))
	}
	for _, h := range served {
		if names := others[h.Host]; len(names) > 0 {
			l.FilterChains = append(l.FilterChains, s.quicRefusal(h, names))
		}
	}
	if len(l.FilterChains) == 0 {
		return nil
	}
	settings := in.Settings
	l.UdpListenerConfig = &listenerv3.UdpListenerConfig{
		DownstreamSocketConfig: &corev3.UdpSocketConfig{PreferGro: wrapperspb.Bool(true)},
		QuicOptions: &listenerv3.QuicProtocolOptions{
			QuicProtocolOptions: &corev3.QuicProtocolOptions{
				MaxConcurrentStreams:        wrapperspb.UInt32(settings.MaxConcurrentStreams),
				InitialStreamWindowSize:     wrapperspb.UInt32(settings.StreamWindowBytes),
				InitialConnectionWindowSize: wrapperspb.UInt32(settings.ConnectionWindowBytes),
			},
			CryptoHandshakeTimeout: durationpb.New(handshakeSeconds * time.Second),
		},
	}
	return l
}

// QUICNeeds returns what [QUICListener] asks for and cannot open without, sorted.
func QUICNeeds(in StreamInput) []model.ResourceName {
	s := newStream(in)
	var out []model.ResourceName
	tables := map[string]bool{}
	served, _ := s.quicHosts()
	for _, h := range served {
		out = append(out, s.needs(h, tables)...)
	}
	return sortedNames(out)
}

// quicHosts returns the hosts that have HTTP/3, and by wildcard among them the
// server names that would fall to it and must not: they have none, or are withheld.
func (s *stream) quicHosts() (served []*TLSHost, others map[string][]string) {
	s.in.Tickets = false // sessions over QUIC are resumed at one proxy only
	chains := s.claims(s.taken())
	names := map[string]bool{}
	for _, c := range chains {
		if c.host != nil && c.host.hasHTTP3() && handshake.Servable(s.handshake(c.host)) {
			served = append(served, c.host)
			names[c.host.Host] = true
		}
	}
	others = map[string][]string{}
	for _, name := range serverNamesOf(chains) {
		if wide := foundUnder(name, names); !names[name] && names[wide] {
			others[wide] = append(others[wide], name)
		}
	}
	return served, others
}

// quicRefusal answers 421 for names, which h would take: a chain of QUIC that just
// closes, Envoy does not know. Clients then come over TCP.
func (s *stream) quicRefusal(h *TLSHost, names []string) *listenerv3.FilterChain {
	out := s.quicChain(h)
	out.Name = "misdirected/" + h.Host
	out.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: names}
	out.Filters = s.sharedManager(managerKey{quic: true})
	return out
}

// quicChain is the chain of h. Requests in the first flight are refused: whoever
// recorded one could send it again (RFC 8446 section 8).
func (s *stream) quicChain(h *TLSHost) *listenerv3.FilterChain {
	in := s.handshake(h)
	in.ALPN = []string{"h3"}
	return &listenerv3.FilterChain{
		Name:             "tls/" + h.Host,
		FilterChainMatch: quicMatch(h.Host),
		TransportSocket: &corev3.TransportSocket{
			Name: "envoy.transport_sockets.quic",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&quicv3.QuicDownstreamTransport{
				DownstreamTlsContext: handshake.Context(in), EnableEarlyData: wrapperspb.Bool(false),
			})},
		},
		Filters: s.sharedManager(managerKey{table: h.Table, scopes: h.Scopes, quic: true}),
	}
}

func quicMatch(host string) *listenerv3.FilterChainMatch {
	if host == "*" {
		return nil
	}
	return &listenerv3.FilterChainMatch{ServerNames: []string{host}}
}
