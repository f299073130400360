package sim

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// filtered tells what route says to the filters that are known here. It returns
// the word for a configuration that it cannot read; other filters are left
// alone.
func filtered(out *Answer, route *routev3.Route) string {
	for name, config := range route.GetTypedPerFilterConfig() {
		f := &faultv3.HTTPFault{}
		switch {
		case config.MessageIs(f):
			if config.UnmarshalTo(f) != nil {
				return "route.typed_per_filter_config: " + name
			}
			out.Fault = faultOf(f)
		case config.MessageIs(&corsv3.CorsPolicy{}):
			if config.UnmarshalTo(&corsv3.CorsPolicy{}) != nil {
				return "route.typed_per_filter_config: " + name
			}
			out.CORS = true
		}
	}
	return ""
}

func faultOf(f *faultv3.HTTPFault) *Fault {
	out := &Fault{
		Delay:      f.GetDelay().GetFixedDelay().AsDuration(),
		DelayShare: millionths(f.GetDelay().GetPercentage()),
		AbortShare: millionths(f.GetAbort().GetPercentage()),
		Status:     f.GetAbort().GetHttpStatus(),
	}
	if g, ok := f.GetAbort().GetErrorType().(*faultv3.FaultAbort_GrpcStatus); ok {
		out.Status, out.GRPC = g.GrpcStatus, true
	}
	return out
}

// millionths returns a share; none given is 0.
func millionths(p *typev3.FractionalPercent) uint32 {
	switch p.GetDenominator() {
	case typev3.FractionalPercent_MILLION:
		return p.GetNumerator()
	case typev3.FractionalPercent_TEN_THOUSAND:
		return p.GetNumerator() * 100
	}
	return p.GetNumerator() * 10_000
}
