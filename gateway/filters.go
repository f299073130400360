package gateway

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/sluicegw/sluice/model"
)

// httpFilters returns the HTTP filters of every connection manager, in order.
// This list is the only place that orders them:
//
//  1. fallback (scoped layout): finds the scope the exact authority missed, so
//     that every filter behind it sees the right route;
//  2. fallback.upgrade (scoped layout): refuses upgrades the found route does
//     not allow;
//  3. filters of policies, from those that know least about the client to those
//     that know most: a filter there is always in the list and is steered only
//     by its own per-route type, because switching a filter on or off per route
//     has no effect on a request that went through the fallback;
//  4. router.
func httpFilters(scoped bool) []*hcmv3.HttpFilter {
	var filters []*hcmv3.HttpFilter
	if scoped {
		filters = append(filters, discoveredLua(model.ExtensionFallback), discoveredLua(model.ExtensionFallbackUpgrade))
	}
	return append(filters, router())
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
	return &hcmv3.HttpFilter{
		Name:       "envoy.filters.http.router",
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{SuppressEnvoyHeaders: true})},
	}
}
