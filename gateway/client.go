package gateway

import (
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	filterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	connlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	exprv1 "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

// Who a client is: the PROXY protocol in front of a connection, from whom it is
// believed, and how many clients there may be.

const (
	// The addresses of a connection that checkedClient compares: of the peer
	// itself, and the one it claims.
	statePeer    = "sluice.peer"
	stateClaimed = "sluice.claimed"
)

// listenerFilters returns the listener filters that every kind of TCP listener
// has: the PROXY protocol in versions 1 and 2. Envoy has no switch for it by
// source. So where only some are trusted, connections without a header pass,
// and one that claims an address without being trusted is closed by
// checkedClient. Where everybody is trusted, the header is required.
func listenerFilters(p *model.ProxyProtocolIn, stat string) []*listenerv3.ListenerFilter {
	if p == nil {
		return nil
	}
	return []*listenerv3.ListenerFilter{listenerFilter("envoy.filters.listener.proxy_protocol", &proxyprotocolv3.ProxyProtocol{
		AllowRequestsWithoutProxyProtocol: len(p.Trusted) > 0,
		StatPrefix:                        stat,
	})}
}

// guards returns the network filters that decide whether a connection is taken:
// the limit, which closes what is beyond it before a byte is parsed, then the
// check of claimed addresses.
func guards(p *model.ProxyProtocolIn, connections uint32, stat string) []*listenerv3.Filter {
	out := []*listenerv3.Filter{networkFilter("envoy.filters.network.connection_limit", &connlimitv3.ConnectionLimit{
		StatPrefix:     stat,
		MaxConnections: wrapperspb.UInt64(uint64(connections)),
	})}
	if p != nil && len(p.Trusted) > 0 {
		out = append(out, checkedClient(p.Trusted, stat)...)
	}
	return out
}

// certifiedClient closes a connection at its first byte if the client has shown no
// certificate.
func certifiedClient(stat string) *listenerv3.Filter {
	return networkFilter("envoy.filters.network.rbac", &networkrbacv3.RBAC{
		StatPrefix: stat,
		Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW, Policies: map[string]*rbacv3.Policy{"certified": {
			Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_Any{Any: true}}},
			Principals:  []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}},
			// connection.mtls
			Condition: &exprv1.Expr{ExprKind: &exprv1.Expr_SelectExpr{SelectExpr: &exprv1.Expr_Select{
				Operand: &exprv1.Expr{ExprKind: &exprv1.Expr_IdentExpr{IdentExpr: &exprv1.Expr_Ident{Name: "connection"}}}, Field: "mtls",
			}}},
		}}},
	})
}

// checkedClient closes a connection at its first byte if its address is a claim
// of somebody who is not trusted: taken are peers in trusted, and those whose
// address is their own. Nothing else passes, also if the comparison fails.
func checkedClient(trusted []string, stat string) []*listenerv3.Filter {
	var peers []*rbacv3.Principal
	for _, r := range prefixRanges(trusted) {
		peers = append(peers, &rbacv3.Principal{Identifier: &rbacv3.Principal_DirectRemoteIp{DirectRemoteIp: r}})
	}
	anything := []*rbacv3.Permission{{Rule: &rbacv3.Permission_Any{Any: true}}}
	anybody := []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}}
	policies := map[string]*rbacv3.Policy{
		"own-address": {Permissions: anything, Principals: anybody, Condition: call("_==_", state(statePeer), state(stateClaimed))},
	}
	if len(peers) > 0 {
		policies["trusted"] = &rbacv3.Policy{Permissions: anything, Principals: peers}
	}
	return []*listenerv3.Filter{
		networkFilter("envoy.filters.network.set_filter_state", &setstatev3.Config{OnNewConnection: []*filterstatev3.FilterStateValue{
			remember(statePeer, "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"),
			remember(stateClaimed, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
		}}),
		networkFilter("envoy.filters.network.rbac", &networkrbacv3.RBAC{
			StatPrefix: stat,
			Rules:      &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW, Policies: policies},
		}),
	}
}

func remember(key, format string) *filterstatev3.FilterStateValue {
	return &filterstatev3.FilterStateValue{
		Key:        &filterstatev3.FilterStateValue_ObjectKey{ObjectKey: key},
		FactoryKey: "envoy.string",
		Value: &filterstatev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: format},
			}},
		}},
	}
}

// state is the expression filter_state["key"].
func state(key string) *exprv1.Expr {
	return call("_[_]",
		&exprv1.Expr{ExprKind: &exprv1.Expr_IdentExpr{IdentExpr: &exprv1.Expr_Ident{Name: "filter_state"}}},
		&exprv1.Expr{ExprKind: &exprv1.Expr_ConstExpr{ConstExpr: &exprv1.Constant{
			ConstantKind: &exprv1.Constant_StringValue{StringValue: key},
		}}},
	)
}

func call(function string, args ...*exprv1.Expr) *exprv1.Expr {
	return &exprv1.Expr{ExprKind: &exprv1.Expr_CallExpr{CallExpr: &exprv1.Expr_Call{Function: function, Args: args}}}
}

// prefixRanges parses CIDRs and single addresses. What is neither is left out:
// the decoder has reported it.
func prefixRanges(cidrs []string) []*corev3.CidrRange {
	var out []*corev3.CidrRange
	for _, text := range cidrs {
		if p, ok := subnet(text); ok {
			out = append(out, &corev3.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))})
		}
	}
	return out
}

// subnet parses a CIDR or a single address, without the bits of the host.
func subnet(text string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

func listenerFilter(name string, config proto.Message) *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{Name: name, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(config)}}
}

func networkFilter(name string, config proto.Message) *listenerv3.Filter {
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(config)}}
}
