package gateway

import (
	"fmt"

	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	dfpcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	dfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	filterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/model"
)

// httpFilters returns the HTTP filters of every connection manager, in order.
// This list is the only place that orders them:
//
//  1. rbac: a request that means another host or path than it says is refused
//     before anything trusts it;
//  2. fallback (a table found by scope): finds the scope that the key missed, so
//     that every filter behind it sees the right route;
//  3. filters of policies, from those that know least about the client to those
//     that know most: a filter there is always in the list and is steered only
//     by its own per-route type, because switching a filter on or off per route
//     has no effect on a request that went through the fallback;
//  4. grpc_web (a server of protocol GRPC-WEB): what follows sees gRPC;
//  5. fault, cors: always there and idle until a route steers them, so that the
//     first use of either replaces no listener and cuts no WebSocket. An
//     aborted request gets no CORS headers, as with Istio;
//  6. set_filter_state and dynamic_forward_proxy (a destination resolves the
//     name that the client asked for): the route says the port, the request
//     waits until the name is resolved;
//  7. header_mutation: trailers that stand for headers go; of a host with HTTP/3
//     every response, those of the filters before it too, says where that is;
//  8. router.
func httpFilters(in manager) []*hcmv3.HttpFilter {
	filters := []*hcmv3.HttpFilter{targetGuard(in.settings.PathParameters)}
	if in.scopes {
		filters = append(filters, discoveredLua(model.ExtensionFallback))
	}
	if in.grpcWeb {
		filters = append(filters, httpFilter("envoy.filters.http.grpc_web", &grpcwebv3.GrpcWeb{}))
	}
	for _, f := range []*hcmv3.HttpFilter{idleFault(), httpFilter(model.FilterCORS, &corsv3.Cors{})} {
		// Asleep until a route configures them: no request pays for what its route
		// does not use. A host that the fallback finds is chosen after the filters
		// were, so where tables are found by scope they are awake here, and it is the
		// table that puts them to sleep; see [asleep].
		f.Disabled = !in.scopes
		filters = append(filters, f)
	}
	if in.dnsCache != nil {
		filters = append(filters, httpFilter(model.FilterState, &filterstatev3.Config{}), dynamicForwardProxy(in.dnsCache))
	}
	return append(filters, mutations(in.altPort), router())
}

// mutations takes the trailers off that a client may not send.
func mutations(altPort uint32) *hcmv3.HttpFilter {
	m := &headermutationv3.Mutations{RequestTrailersMutations: removal(clientTrailers())}
	if altPort != 0 {
		m.ResponseMutations = []*mutationrulesv3.HeaderMutation{alternative(altPort)}
	}
	return httpFilter("envoy.filters.http.header_mutation", &headermutationv3.HeaderMutation{Mutations: m})
}

// alternative tells clients that HTTP/3 is at port, over what a destination says
// of its own ports.
//
// Source: RFC 9114 section 3.1.1, RFC 7838 section 3; the day is Istio's.
func alternative(port uint32) *mutationrulesv3.HeaderMutation {
	return &mutationrulesv3.HeaderMutation{Action: &mutationrulesv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: "alt-svc", Value: fmt.Sprintf(`h3=":%d"; ma=86400`, port)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}}}
}

// idleFault does nothing by itself. Its counters per client cluster are off: each
// costs a look-up of a name per request.
func idleFault() *hcmv3.HttpFilter {
	return httpFilter(model.FilterFault, &faultv3.HTTPFault{DisableDownstreamClusterStats: true})
}

func dynamicForwardProxy(cache *dfpcommonv3.DnsCacheConfig) *hcmv3.HttpFilter {
	return httpFilter("envoy.filters.http.dynamic_forward_proxy", &dfpv3.FilterConfig{
		ImplementationSpecifier:         &dfpv3.FilterConfig_DnsCacheConfig{DnsCacheConfig: cache},
		AllowDynamicHostFromFilterState: true, // the port of the service
	})
}

// discoveredLua is a Lua filter whose program arrives as an extension config of
// the same name: a new wildcard host changes the program, not the listener.
func discoveredLua(name string) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name: name,
		ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{ConfigDiscovery: &corev3.ExtensionConfigSource{
			ConfigSource: ads(),
			TypeUrls:     []string{"type.googleapis.com/" + string((&luav3.Lua{}).ProtoReflect().Descriptor().FullName())},
		}},
	}
}

// router forwards; it tells neither side Envoy's own x-envoy-* headers.
func router() *hcmv3.HttpFilter {
	return httpFilter("envoy.filters.http.router", &routerv3.Router{SuppressEnvoyHeaders: true})
}

func httpFilter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(config)}}
}
