package gateway

import (
	"fmt"
	"slices"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluicegw/sluice/gateway/handshake"
	"github.com/sluicegw/sluice/model"
)

const (
	// handshakeSeconds is how long a client may take for its handshake, and wait
	// for a certificate on demand. It is Istio's.
	handshakeSeconds   = 15
	challengeChainName = "acme-challenge"
	// acmeALPN is what a TLS-ALPN-01 validator offers (RFC 8737 section 4).
	acmeALPN = "acme-tls/1"
)

func handshakeTimeout() *durationpb.Duration { return durationpb.New(handshakeSeconds * time.Second) }

// managerKey is in what connection managers of one port differ.
type managerKey struct {
	table   string
	scopes  bool
	clients bool
	altPort uint32
	quic    bool
}

// manager returns the connection manager for h over TCP, and what it needs before it.
func (s *stream) manager(h *TLSHost) []*listenerv3.Filter {
	key := managerKey{table: h.Table, scopes: h.Scopes, clients: h.Server.TLS.Mode != model.ServerTLSSimple}
	if h.hasHTTP3() {
		key.altPort = s.in.Bind.Port
	}
	return s.sharedManager(key)
}

// sharedManager returns the filters of [managerFilters] for key, packed once:
// thousands of chains have the same.
func (s *stream) sharedManager(key managerKey) []*listenerv3.Filter {
	if s.managers[key] == nil {
		s.managers[key] = managerFilters(manager{
			table: key.table, scopes: key.scopes, settings: s.in.Settings, stat: s.stat(), dnsCache: s.in.DNSCache,
			clients: key.clients, altPort: key.altPort, quic: key.quic,
		})
	}
	return s.managers[key]
}

// named returns the chains that a server name alone chooses, and reports the
// others: beside a shared chain nothing else can choose.
func (s *stream) named(chains []chain) (out []chain) {
	for _, c := range chains {
		if c.sni() && (c.host == nil || c.keys[0] == "*") {
			out = append(out, c)
			continue
		}
		gw, field := c.server.Gateway, c.server.Server.Field
		s.report(gw, model.Problem{
			Field: field + ".port", Reason: model.ReasonPortConflict, Severity: model.SeverityError,
			Message: fmt.Sprintf("the TLS hosts of port %s share a chain that fetches certificates on demand, beside which connections can only be told apart by server name; choose another port for %q", s.in.Bind, c.name()),
		})
	}
	return out
}

// onDemandChain takes all TLS that no other chain has.
func (s *stream) onDemandChain() *listenerv3.FilterChain {
	o := s.in.OnDemand
	key := managerKey{table: o.Table, scopes: true}
	return &listenerv3.FilterChain{
		Name:                          onDemandName,
		FilterChainMatch:              sniMatch("*"),
		TransportSocket:               transportSocket(handshake.OnDemand(o.Server.TLS, alpn(true))),
		TransportSocketConnectTimeout: handshakeTimeout(),
		Filters:                       slices.Concat(s.guardsFor(chain{server: &StreamServer{Server: o.Server}}), s.sharedManager(key)),
	}
}

// challengeChains returns the chains that hand TLS-ALPN-01 validators of the
// challenged hosts on to who answers. Envoy chooses by server name first and never
// turns back, so such a chain must stand under exactly the name under which the
// host's own connections are found: a name that only validators had would take the
// host away from its wildcard, or from the chain of all other TLS.
func (s *stream) challengeChains(chains []chain) []*listenerv3.FilterChain {
	if len(s.in.Challenged) == 0 {
		return nil
	}
	taken := map[string]bool{}
	for _, name := range serverNamesOf(chains) {
		taken[name] = true
	}
	var names []string
	rest := false
	for _, host := range s.in.Challenged {
		if name := foundUnder(host, taken); name != "*" {
			names = append(names, name)
		} else {
			rest = true
		}
	}
	var out []*listenerv3.FilterChain
	if len(names) > 0 {
		slices.Sort(names)
		out = append(out, s.challengeChain(challengeChainName, slices.Compact(names)))
	}
	if rest {
		out = append(out, s.challengeChain(challengeChainName+"/*", []string{"*"}))
	}
	return out
}

// serverNamesOf returns the server names of chains, sorted; "*" is any.
func serverNamesOf(chains []chain) []string {
	var out []string
	for _, c := range chains {
		switch {
		case c.host != nil:
			out = append(out, c.host.Host)
		case c.sni():
			out = append(out, c.keys...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// foundUnder returns the server name, of those taken, that Envoy finds for host:
// itself, its longest wildcard, or "*".
func foundUnder(host string, taken map[string]bool) string {
	for name := range model.Covering(host) {
		if taken[name] {
			return name
		}
	}
	return "*"
}

func (s *stream) challengeChain(name string, names []string) *listenerv3.FilterChain {
	match := sniMatch(names...)
	match.ApplicationProtocols = []string{acmeALPN}
	proxy := &tcpproxyv3.TcpProxy{
		StatPrefix:       s.stat(),
		ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: model.ClusterChallengeTLS},
		IdleTimeout:      handshakeTimeout(), // a validator says what it has to say at once
	}
	filters := s.guardsFor(chain{server: &StreamServer{Server: &model.Server{}}})
	return &listenerv3.FilterChain{
		Name: name, FilterChainMatch: match,
		Filters: append(filters, networkFilter("envoy.filters.network.tcp_proxy", proxy)),
	}
}

// StreamNeeds returns what the listener of in asks for and cannot open without,
// sorted: route tables or what finds their scopes, and secrets. Scopes and the
// certificates of [OnDemand] are not among them.
func StreamNeeds(in StreamInput) []model.ResourceName {
	s := newStream(in)
	servers := s.taken()
	var out []model.ResourceName
	tables := map[string]bool{}
	for _, c := range s.claims(servers) {
		if c.host != nil {
			out = append(out, s.needs(c.host, tables)...)
		}
	}
	if s.onDemand(servers) {
		out = append(out, tableNeeds(in.OnDemand.Table, true)...)
	}
	return sortedNames(out)
}

// needs returns what the chain of h asks for; tables are those already named.
func (s *stream) needs(h *TLSHost, tables map[string]bool) []model.ResourceName {
	in := s.handshake(h)
	if !handshake.Servable(in) {
		return nil
	}
	var out []model.ResourceName
	if h.isHTTP() && !tables[h.Table] {
		tables[h.Table] = true
		out = tableNeeds(h.Table, h.Scopes)
	}
	for _, name := range handshake.Secrets(in) {
		out = append(out, model.ResourceName{Type: model.TypeSecret, Name: name})
	}
	return out
}

func sortedNames(names []model.ResourceName) []model.ResourceName {
	slices.SortFunc(names, model.ResourceName.Compare)
	return slices.Compact(names)
}
