package gateway

import (
	"strings"
	"time"

	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	dfpcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	preservecasev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

const (
	// scopesName names the scope set. It is the same in every connection
	// manager, and so is the rest of scoped_rds: only then do all of them share
	// one set in memory. Tables are told apart by the scope key.
	scopesName = "sluice"
	// scopeRoutesTimeout is how long a scope at start-up waits for its routes.
	// It is bounded because a single missing table would otherwise keep every
	// listener closed.
	scopeRoutesTimeout = 5 * time.Second
	// delayedClose is how long a connection stays half open after an error
	// response, so that the client can read it.
	delayedClose = time.Second
	// streamFlush is how long a client may take to read the rest of an answer
	// that the destination has finished. It cuts no stream: that one is over.
	streamFlush = 5 * time.Minute
	// pingInterval and pingTimeout find HTTP/2 clients that no longer answer.
	pingInterval = 5 * time.Minute
	pingTimeout  = 20 * time.Second
	// hostForHTTP10 stands in for the Host header that HTTP/1.0 may leave out;
	// only the host "*" takes it (RFC 6761 section 6.4: it never resolves).
	hostForHTTP10 = "default.invalid"
)

// manager is what a connection manager is made of. The plain-text port has one,
// and every set of TLS hosts that differ in nothing of it shares one.
type manager struct {
	table    string // name of the route table; "" is one that answers 421
	scopes   bool   // the table is found by scope, and not by its name
	settings model.Settings
	stat     string // prefix of the names of statistics
	grpcWeb  bool
	dnsCache *dfpcommonv3.DnsCacheConfig
	// clients are asked for certificates: destinations hear what those say.
	clients bool
	// quic is HTTP/3. altPort, if not 0, is where responses say that it is.
	quic    bool
	altPort uint32
}

// managerFilters returns the network filters of m, packed: what tells a connection
// the layout of the table, and the connection manager.
func managerFilters(m manager) []*listenerv3.Filter {
	var out []*listenerv3.Filter
	if m.scopes && !m.quic {
		out = append(out, tableState(m.table))
	}
	return append(out, networkFilter("envoy.filters.network.http_connection_manager", connectionManager(m)))
}

// connectionManager returns the HTTP connection manager of in. Access logs will be
// set here.
func connectionManager(in manager) *hcmv3.HttpConnectionManager {
	s := in.settings
	m := &hcmv3.HttpConnectionManager{
		StatPrefix:                      in.stat,
		CodecType:                       hcmv3.HttpConnectionManager_AUTO,
		HttpFilters:                     httpFilters(in),
		CommonHttpProtocolOptions:       commonOptions(s),
		HttpProtocolOptions:             http1Options(s),
		Http2ProtocolOptions:            http2Options(s),
		MaxRequestHeadersKb:             wrapperspb.UInt32(s.MaxRequestHeadersKiB),
		StreamIdleTimeout:               durationpb.New(s.StreamIdleTimeout),
		StreamFlushTimeout:              durationpb.New(streamFlush),
		RequestTimeout:                  durationpb.New(s.RequestTimeout),
		RequestHeadersTimeout:           durationpb.New(s.RequestHeadersTimeout),
		DelayedCloseTimeout:             durationpb.New(delayedClose),
		ServerHeaderTransformation:      hcmv3.HttpConnectionManager_PASS_THROUGH,
		UseRemoteAddress:                wrapperspb.Bool(true),
		XffNumTrustedHops:               s.TrustedHops,
		GenerateRequestId:               wrapperspb.Bool(true),
		NormalizePath:                   wrapperspb.Bool(true),
		MergeSlashes:                    s.MergeSlashes,
		PathWithEscapedSlashesAction:    escapedSlashes(s.EscapedSlashes),
		StreamErrorOnInvalidHttpMessage: wrapperspb.Bool(false),
		LocalReplyConfig:                localReplies(),
		EarlyHeaderMutationExtensions:   []*corev3.TypedExtensionConfig{earlyMutations(in)},
		UpgradeConfigs:                  []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
	}
	if in.quic {
		m.CodecType = hcmv3.HttpConnectionManager_HTTP3
		m.Http3ProtocolOptions = &corev3.Http3ProtocolOptions{AllowExtendedConnect: true}
	}
	if in.clients {
		m.ForwardClientCertDetails = hcmv3.HttpConnectionManager_SANITIZE_SET
		m.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{
			Subject: wrapperspb.Bool(true), Cert: true, Dns: true, Uri: true,
		}
	}
	switch {
	case in.table == "":
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			VirtualHosts: []*routev3.VirtualHost{Misdirected([]string{"*"})},
		}}
	case in.scopes:
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: scopedRoutes()}
	default:
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: in.table}}
	}
	return m
}

func commonOptions(s model.Settings) *corev3.HttpProtocolOptions {
	underscores := corev3.HttpProtocolOptions_REJECT_REQUEST
	if s.UnderscoreHeaders {
		underscores = corev3.HttpProtocolOptions_ALLOW
	}
	return &corev3.HttpProtocolOptions{
		IdleTimeout:                  durationpb.New(s.ConnectionIdleTimeout),
		MaxHeadersCount:              wrapperspb.UInt32(s.MaxRequestHeaders),
		HeadersWithUnderscoresAction: underscores,
	}
}

// http1Options lets trailers pass, which gRPC over HTTP/2 has anyway. For HTTP/1
// destinations the cluster must let them pass too; so it is with the case of
// header names.
func http1Options(s model.Settings) *corev3.Http1ProtocolOptions {
	o := &corev3.Http1ProtocolOptions{EnableTrailers: true, IgnoreHttp_11Upgrade: ignoredUpgrades()}
	if s.HTTP10 {
		o.AcceptHttp_10, o.DefaultHostForHttp_10 = true, hostForHTTP10
	}
	if s.KeepHeaderCase {
		o.HeaderKeyFormat = &corev3.Http1ProtocolOptions_HeaderKeyFormat{
			HeaderFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter{StatefulFormatter: &corev3.TypedExtensionConfig{
				Name:        "preserve_case",
				TypedConfig: pack(&preservecasev3.PreserveCaseFormatterConfig{}),
			}},
		}
	}
	return o
}

// ignoredUpgrades are all but the one that is served: the request is, without
// the upgrade. Clients offer TLS/1.2 or h2c with every plain request.
//
// Source: RFC 9110 section 7.8.
func ignoredUpgrades() []*matcherv3.StringMatcher {
	return []*matcherv3.StringMatcher{{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
		SafeRegex: &matcherv3.RegexMatcher{Regex: `(?i)([^w]|w[^e]|we[^b]|web[^s]|webs[^o]|webso[^c]|websoc[^k]|websock[^e]|websocke[^t]|websocket.).*|w|we|web|webs|webso|websoc|websock|websocke`},
	}}}
}

// http2Options allows the CONNECT method for WebSockets over HTTP/2 (RFC 8441);
// a CONNECT to a host matches no route and gets 404.
func http2Options(s model.Settings) *corev3.Http2ProtocolOptions {
	return &corev3.Http2ProtocolOptions{
		MaxConcurrentStreams:        wrapperspb.UInt32(s.MaxConcurrentStreams),
		InitialStreamWindowSize:     wrapperspb.UInt32(s.StreamWindowBytes),
		InitialConnectionWindowSize: wrapperspb.UInt32(s.ConnectionWindowBytes),
		AllowConnect:                true,
		ConnectionKeepalive: &corev3.KeepaliveSettings{
			Interval: durationpb.New(pingInterval),
			Timeout:  durationpb.New(pingTimeout),
		},
	}
}

func escapedSlashes(e model.EscapedSlashes) hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction {
	switch e {
	case model.EscapedSlashesForward:
		return hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD
	case model.EscapedSlashesReject:
		return hcmv3.HttpConnectionManager_REJECT_REQUEST
	case model.EscapedSlashesKeep:
		return hcmv3.HttpConnectionManager_KEEP_UNCHANGED
	default:
		return hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT
	}
}

// earlyMutations changes request headers before routes are looked up. It takes off
// what a client may not say.
func earlyMutations(in manager) *corev3.TypedExtensionConfig {
	mutations := removal(clientHeaders())
	if in.scopes {
		mutations = append(mutations, scopeHeader(in.table)...)
	}
	return &corev3.TypedExtensionConfig{Name: "sluice.early", TypedConfig: pack(&earlyv3.HeaderMutation{Mutations: mutations})}
}

// scopeHeader writes the scope key into its header, over whatever a client sent in
// it: that of the host and, over it, that of the whole table, on connections that
// were told so by [TableLayout]. A table that is found by its name takes the header
// off, so that no destination ever believes a client's.
func scopeHeader(table string) []*mutationrulesv3.HeaderMutation {
	set := func(key string) *mutationrulesv3.HeaderMutation {
		return &mutationrulesv3.HeaderMutation{Action: &mutationrulesv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: model.HeaderScope, Value: key},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}}}
	}
	return []*mutationrulesv3.HeaderMutation{
		set(model.ScopeName(literal(table), "%REQ(:AUTHORITY)%")),
		set("%FILTER_STATE(" + model.StateTable + ":PLAIN)%"), // empty values are not written
	}
}

// literal returns s as it stands in a format of Envoy's.
func literal(s string) string { return strings.ReplaceAll(s, "%", "%%") }

func scopedRoutes() *hcmv3.ScopedRoutes {
	header := &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{
		Name:        model.HeaderScope,
		ExtractType: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{Index: 0},
	}
	fragment := &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{
		Type: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{HeaderValueExtractor: header},
	}
	return &hcmv3.ScopedRoutes{
		Name: scopesName,
		ScopeKeyBuilder: &hcmv3.ScopedRoutes_ScopeKeyBuilder{
			Fragments: []*hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{fragment},
		},
		RdsConfigSource: adsWithin(scopeRoutesTimeout),
		ConfigSpecifier: &hcmv3.ScopedRoutes_ScopedRds{ScopedRds: &hcmv3.ScopedRds{ScopedRdsConfigSource: ads()}},
	}
}

// adsWithin is a source on the aggregated stream whose first answer is waited
// for at most limit; 0 waits for ever.
func adsWithin(limit time.Duration) *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(limit),
	}
}
