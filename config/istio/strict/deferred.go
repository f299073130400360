package strict

import "google.golang.org/protobuf/reflect/protoreflect"

// deferred returns what the use of a field costs that is part of the API but
// not served; "" for fields that are served. Its use is reported, whatever it
// holds. Fields whose use is only sometimes a problem (the tls block of a
// server) are not here but with their kind.
func deferred(name protoreflect.FullName) string {
	switch name {
	case "istio.networking.v1alpha3.Server.default_endpoint",
		"istio.networking.v1alpha3.Port.target_port":
		return "is not supported yet and it has no effect; remove it"
	case "istio.networking.v1alpha3.HTTPFaultInjection.Delay.exponential_delay":
		return "is not supported, Istio ignores it too; write fixedDelay"
	case "istio.networking.v1alpha3.HTTPFaultInjection.Abort.http2_error":
		return "is not supported, Istio ignores it too; write httpStatus or grpcStatus"
	}
	return ""
}

// meshOnly reports whether a field has an effect between sidecars only.
func meshOnly(name protoreflect.FullName) bool {
	switch name {
	case "istio.networking.v1alpha3.WorkloadEntry.network",
		"istio.networking.v1alpha3.WorkloadEntry.service_account":
		return true
	}
	return false
}
