package istio

import "google.golang.org/protobuf/reflect/protoreflect"

// deferred returns what the use of a field costs that is part of the API but
// not served yet; "" for fields that are served. Its use is reported, whatever
// it holds. Fields whose use is only sometimes a problem (exportTo, statPrefix,
// the tls block of a server) are not here but with their kind.
func deferred(name protoreflect.FullName) string {
	switch name {
	case "istio.networking.v1alpha3.HTTPRoute.delegate":
		return "the rule answers 500"
	case "istio.networking.v1alpha3.HTTPMatchRequest.source_labels",
		"istio.networking.v1alpha3.HTTPMatchRequest.source_namespace":
		return "the match is left out"
	case "istio.networking.v1alpha3.DestinationRule.workload_selector":
		return "the whole object is left out"
	case "istio.networking.v1alpha3.Server.default_endpoint",
		"istio.networking.v1alpha3.Port.target_port",

		"istio.networking.v1alpha3.VirtualService.tls",
		"istio.networking.v1alpha3.VirtualService.tcp",
		"istio.networking.v1alpha3.HTTPRoute.fault",
		"istio.networking.v1alpha3.HTTPRoute.mirror",
		"istio.networking.v1alpha3.HTTPRoute.mirrors",
		"istio.networking.v1alpha3.HTTPRoute.mirror_percent",
		"istio.networking.v1alpha3.HTTPRoute.mirror_percentage",
		"istio.networking.v1alpha3.HTTPRoute.cors_policy",

		"istio.networking.v1alpha3.TrafficPolicy.connection_pool",
		"istio.networking.v1alpha3.TrafficPolicy.outlier_detection",
		"istio.networking.v1alpha3.TrafficPolicy.tls",
		"istio.networking.v1alpha3.TrafficPolicy.port_level_settings",
		"istio.networking.v1alpha3.TrafficPolicy.tunnel",
		"istio.networking.v1alpha3.TrafficPolicy.proxy_protocol",
		"istio.networking.v1alpha3.TrafficPolicy.retry_budget",
		"istio.networking.v1alpha3.LoadBalancerSettings.consistent_hash",
		"istio.networking.v1alpha3.LoadBalancerSettings.locality_lb_setting",
		"istio.networking.v1alpha3.LoadBalancerSettings.zone_aware_lb_setting",
		"istio.networking.v1alpha3.LoadBalancerSettings.warmup_duration_secs",
		"istio.networking.v1alpha3.LoadBalancerSettings.warmup",

		"istio.networking.v1alpha3.ServiceEntry.subject_alt_names",
		"istio.networking.v1alpha3.WorkloadEntry.network",
		"istio.networking.v1alpha3.WorkloadEntry.service_account":
		return "it has no effect"
	}
	return ""
}
