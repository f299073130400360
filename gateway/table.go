package gateway

import (
	"net/http"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

const (
	// Field numbers of the encoded messages that PlainTable puts together:
	// envoy/config/route/v3/route.proto and route_components.proto.
	fieldVirtualHosts = protowire.Number(2)  // RouteConfiguration.virtual_hosts
	fieldDomains      = protowire.Number(2)  // VirtualHost.domains
	fieldRoutes       = protowire.Number(3)  // VirtualHost.routes
	fieldRequireTLS   = protowire.Number(4)  // VirtualHost.require_tls
	fieldRouteName    = protowire.Number(14) // Route.name

	// unnamedRoute is the name of a route without one in a scoped table.
	unnamedRoute = "default"
)

// PlainTable returns the encoded RouteConfiguration of a table in the plain
// layout. Hosts are encoded VirtualHosts in the order they are to have; they
// are copied in as bytes, so that a change of one host encodes no other. Without
// hosts, the table holds one that answers 404. MaxDirectBody is the largest
// body in bytes of a direct response in the table; 0 keeps Envoy's 4 KiB.
//
// Envoy matches "a.example.com." against no domain "a.example.com", and its
// option to drop the dot would change the Host header that the destination
// sees. So every domain is in the table twice, with and without the dot. A
// redirect to https (require_tls) becomes a route, as in [ScopedTable]: Envoy's
// own would send "a.example.com:80" to https on port 80. Only the route of
// [WithChallenge] comes before it.
func PlainTable(name string, hosts [][]byte, maxDirectBody uint32) []byte {
	own := &routev3.RouteConfiguration{
		Name:                           name,
		IgnorePortInHostMatching:       true,
		ValidateClusters:               wrapperspb.Bool(false),
		MaxDirectResponseBodySizeBytes: bodyLimit(maxDirectBody),
		RequestHeadersToRemove:         []string{model.HeaderScope},
		TypedPerFilterConfig:           asleep(),
	}
	if len(hosts) == 0 {
		own.VirtualHosts = []*routev3.VirtualHost{blackhole()}
	}
	table := encode(own)
	read := make([]hostFields, len(hosts))
	taken := map[string]bool{}
	for i, host := range hosts {
		read[i] = fieldsOf(host)
		for _, domain := range read[i].domains {
			taken[domain] = true
		}
	}
	for i, host := range hosts {
		inside, after := read[i].additions(taken)
		table = protowire.AppendTag(table, fieldVirtualHosts, protowire.BytesType)
		table = protowire.AppendVarint(table, uint64(len(host)+len(inside)+len(after)))
		table = append(append(table, host[:read[i].challenge]...), inside...)
		table = append(append(table, host[read[i].challenge:]...), after...)
	}
	return table
}

// hostFields is what PlainTable reads of an encoded VirtualHost.
type hostFields struct {
	domains    []string
	requireTLS bool
	// challenge is where the route of WithChallenge ends in the bytes; 0 without.
	challenge int
}

// additions returns what PlainTable puts into the bytes of a host, at challenge,
// and behind them. In protobuf the place says little: lists are joined in order,
// and of a field that is there twice the last value counts.
func (h hostFields) additions(taken map[string]bool) (inside, after []byte) {
	for _, domain := range h.domains {
		if domain == "*" || taken[domain+"."] || strings.HasSuffix(domain, ".") {
			continue
		}
		after = protowire.AppendTag(after, fieldDomains, protowire.BytesType)
		after = protowire.AppendString(after, domain+".")
	}
	if h.requireTLS {
		inside = protowire.AppendTag(inside, fieldRoutes, protowire.BytesType)
		inside = protowire.AppendBytes(inside, encode(redirectToHTTPS()))
		after = protowire.AppendTag(after, fieldRequireTLS, protowire.VarintType)
		after = protowire.AppendVarint(after, uint64(routev3.VirtualHost_NONE))
	}
	return inside, after
}

// fieldsOf reads an encoded VirtualHost without decoding the rest. It stops at
// the first byte that is no protobuf.
func fieldsOf(host []byte) hostFields {
	var out hostFields
	first := true
	for rest := host; len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return out
		}
		rest = rest[n:]
		if n = protowire.ConsumeFieldValue(number, kind, rest); n < 0 {
			return out
		}
		value := rest
		rest = rest[n:]
		switch {
		case number == fieldDomains && kind == protowire.BytesType:
			domain, _ := protowire.ConsumeString(value)
			out.domains = append(out.domains, domain)
		case number == fieldRoutes && kind == protowire.BytesType:
			if route, _ := protowire.ConsumeBytes(value); first && isEncodedChallenge(route) {
				out.challenge = len(host) - len(rest)
			}
			first = false
		case number == fieldRequireTLS && kind == protowire.VarintType:
			level, _ := protowire.ConsumeVarint(value)
			out.requireTLS = level != uint64(routev3.VirtualHost_NONE)
		}
	}
	return out
}

// isEncodedChallenge reports whether an encoded Route is that of WithChallenge.
func isEncodedChallenge(route []byte) bool {
	for len(route) > 0 {
		number, kind, n := protowire.ConsumeTag(route)
		if n < 0 {
			return false
		}
		route = route[n:]
		if n = protowire.ConsumeFieldValue(number, kind, route); n < 0 {
			return false
		}
		if number == fieldRouteName && kind == protowire.BytesType {
			name, _ := protowire.ConsumeString(route)
			return name == challengeName
		}
		route = route[n:]
	}
	return false
}

// ScopedTable returns the RouteConfiguration of one host of a table in the
// scoped layout; vh is not changed. The virtual host takes every authority,
// because its scope has chosen it. Around the routes of vh it puts what the
// fallback program relies on:
//
//   - every route has a name, and the last one answers 404: a host that is found
//     never falls through to a wildcard. A plain CONNECT, which has no path, does
//     fall through, and finds no route there either;
//   - the scope header ends here. A route with an internal redirect, of which
//     package routing makes none, would miss it;
//   - the fallback program is off;
//   - a redirect to https is a route. Envoy answers require_tls with a route that
//     has no name and knows nothing of filters, which the fallback takes for a
//     missing host: a wildcard would then serve it in plain text.
//
// The host in the name is the first domain of vh.
func ScopedTable(table string, vh *routev3.VirtualHost, maxDirectBody uint32) *routev3.RouteConfiguration {
	name := table
	if len(vh.GetDomains()) > 0 {
		name = model.ScopeName(table, vh.GetDomains()[0])
	}
	host := proto.CloneOf(vh)
	host.Domains = []string{"*"}
	for _, route := range host.GetRoutes() {
		if route.GetName() == "" {
			route.Name = unnamedRoute
		}
	}
	if host.GetRequireTls() != routev3.VirtualHost_NONE {
		host.RequireTls = routev3.VirtualHost_NONE
		at := 0
		if isChallenge(host) {
			at = 1
		}
		host.Routes = slices.Insert(host.Routes, at, redirectToHTTPS())
	}
	host.Routes = append(host.Routes, notFound())
	host.RequestHeadersToRemove = append(host.RequestHeadersToRemove, model.HeaderScope)
	// On the host and not on the configuration around it: Envoy looks for every
	// filter of every request from the inside out.
	host.TypedPerFilterConfig = asleep()
	return &routev3.RouteConfiguration{
		Name:                           name,
		VirtualHosts:                   []*routev3.VirtualHost{host},
		ValidateClusters:               wrapperspb.Bool(false),
		MaxDirectResponseBodySizeBytes: bodyLimit(maxDirectBody),
	}
}

// asleep switches off what is on where tables are found by scope: the fallback,
// because the scope is found, and the filters that a route has to steer.
func asleep() map[string]*anypb.Any {
	off := pack(&routev3.FilterConfig{Disabled: true})
	return map[string]*anypb.Any{model.ExtensionFallback: off, model.FilterFault: off, model.FilterCORS: off}
}

// Scope returns the scope that sends requests for host in table to the
// RouteConfiguration of [ScopedTable]. Host is lower-case: exact, wildcard, or
// "*".
func Scope(table, host string) *routev3.ScopedRouteConfiguration {
	return ScopeTo(table, host, model.ScopeName(table, host))
}

// ScopeTo is [Scope], but to the RouteConfiguration named routes, which many hosts
// may share.
func ScopeTo(table, host, routes string) *routev3.ScopedRouteConfiguration {
	name := model.ScopeName(table, host)
	return &routev3.ScopedRouteConfiguration{
		Name:                   name,
		RouteConfigurationName: routes,
		Key: &routev3.ScopedRouteConfiguration_Key{Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{{
			Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: name},
		}}},
	}
}

// TableScope returns the scope of a whole table in the plain layout; see
// [TableLayout].
func TableScope(table string) *routev3.ScopedRouteConfiguration {
	return ScopeTo(table, model.PlainScope, table)
}

func blackhole() *routev3.VirtualHost {
	return &routev3.VirtualHost{
		Name:    "blackhole",
		Domains: []string{"*"},
		Routes:  []*routev3.Route{notFound()},
	}
}

// Misdirected returns a virtual host that answers 421 to everything: for hosts
// that another table of the port serves, and with "*" for all that this one does
// not have. On a connection to one host, a client may ask for another whose
// certificate is the same; what it did not prove here it must prove there, on a
// connection of its own. For a scoped table see [ScopedTable] and [ScopeTo].
//
// Source: RFC 9110 section 15.5.20.
func Misdirected(domains []string) *routev3.VirtualHost {
	return &routev3.VirtualHost{
		Name:    "misdirected",
		Domains: domains,
		Routes: []*routev3.Route{
			answer(http.StatusMisdirectedRequest, connects(), "misdirected-connect"),
			answer(http.StatusMisdirectedRequest, everyPath(), "misdirected"),
		},
	}
}

func notFound() *routev3.Route { return answer(http.StatusNotFound, everyPath(), "not-found") }

// connects matches CONNECT, which has no path.
func connects() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}}
}

func answer(status uint32, match *routev3.RouteMatch, name string) *routev3.Route {
	return &routev3.Route{
		Name:   name,
		Match:  match,
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: status}},
	}
}

// redirectToHTTPS sends what did not arrive over TLS, here or at a trusted proxy
// in front, to the same place under https.
func redirectToHTTPS() *routev3.Route {
	match := everyPath()
	match.Headers = []*routev3.HeaderMatcher{{
		Name:        "x-forwarded-proto",
		InvertMatch: true,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "https"},
		}},
	}}
	return &routev3.Route{
		Name:  "https-redirect",
		Match: match,
		Action: &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{
			SchemeRewriteSpecifier: &routev3.RedirectAction_HttpsRedirect{HttpsRedirect: true},
		}},
	}
}

// everyPath matches every request but CONNECT, which has no path.
func everyPath() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: ""}}
}

// encode is deterministic. It panics if m holds a string that is not UTF-8,
// which no value of package model does.
func encode(m proto.Message) []byte {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("gateway: encode " + string(m.ProtoReflect().Descriptor().FullName()) + ": " + err.Error())
	}
	return encoded
}

func bodyLimit(n uint32) *wrapperspb.UInt32Value {
	if n == 0 {
		return nil
	}
	return wrapperspb.UInt32(n)
}
