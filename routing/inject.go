package routing

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	setv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	filterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

// validated is a message that knows its own rules.
type validated interface {
	proto.Message
	ValidateAll() error
}

// perFilter returns what rule says to the filters in front of the router, nil
// if nothing, or the problem for which Envoy would refuse it. It holds for
// whatever the rule does: forward, redirect or answer.
func perFilter(in *HostInput, by model.Ref, rule *model.HTTPRule) (map[string]*anypb.Any, *model.Problem) {
	var out map[string]*anypb.Any
	add := func(name, field string, config validated) *model.Problem {
		err := config.ValidateAll()
		if err == nil {
			_, err = proto.Marshal(config)
		}
		if err != nil {
			return invalid(by, rule.Field+field, model.ReasonInvalidValue,
				fmt.Sprintf("Envoy would refuse this (%v); the rule answers 500 until it is corrected", err))
		}
		if out == nil {
			out = make(map[string]*anypb.Any)
		}
		out[name] = packed(config)
		return nil
	}
	if rule.Inject != nil {
		if p := checkInjection(by, rule); p != nil {
			return nil, p
		}
		if p := add(model.FilterFault, ".fault", httpFault(rule.Inject)); p != nil {
			return nil, p
		}
	}
	if rule.CORS != nil {
		if p := checkCORS(by, rule); p != nil {
			return nil, p
		}
		if p := add(model.FilterCORS, ".corsPolicy", corsPolicy(rule.CORS)); p != nil {
			return nil, p
		}
	}
	if t := dynamicTarget(in, rule); t != nil {
		if p := add(model.FilterState, ".route", dynamicPort(t.Port)); p != nil {
			return nil, p
		}
	}
	return out, nil
}

// dynamicTarget returns the first destination of a rule that resolves what the
// client asked for, nil if there is none.
func dynamicTarget(in *HostInput, rule *model.HTTPRule) *model.DynamicTarget {
	for _, d := range taking(rule.Route) {
		if t := in.Targets[d.Destination].Dynamic; t != nil {
			return t
		}
	}
	return nil
}

// dynamicPort tells the dynamic forward proxy which port to connect to,
// whatever the client's authority says.
func dynamicPort(port uint32) *filterstatev3.Config {
	return &filterstatev3.Config{OnRequestHeaders: []*setv3.FilterStateValue{{
		Key: &setv3.FilterStateValue_ObjectKey{ObjectKey: "envoy.upstream.dynamic_port"},
		Value: &setv3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: strconv.FormatUint(uint64(port), 10)},
			}},
		}},
	}}}
}

func checkInjection(by model.Ref, rule *model.HTTPRule) *model.Problem {
	if d := rule.Inject.Delay; d != nil {
		if p := checkPercent(by, rule.Field+".fault.delay.percentage", d.Percent); p != nil {
			return p
		}
		if p := checkTime(by, rule.Field+".fault.delay.fixedDelay", &d.Fixed); p != nil {
			return p
		}
	}
	if a := rule.Inject.Abort; a != nil {
		return checkPercent(by, rule.Field+".fault.abort.percentage", a.Percent)
	}
	return nil
}

// checkPercent takes 0 to 100; everything else, not a number included, is a
// problem.
func checkPercent(by model.Ref, field string, percent float64) *model.Problem {
	if percent >= 0 && percent <= 100 {
		return nil
	}
	return invalid(by, field, model.ReasonInvalidValue,
		fmt.Sprintf("the percentage %v is out of range; give it one from 0 to 100", percent))
}

// checkCORS compiles the origins. A policy that cannot be read closes the rule
// rather than opening it to every origin.
func checkCORS(by model.Ref, rule *model.HTTPRule) *model.Problem {
	field := rule.Field + ".corsPolicy"
	for i, o := range rule.CORS.AllowOrigins {
		if o.Kind != model.MatchRegex {
			continue
		}
		if _, err := regexp.Compile(o.Value); err != nil {
			return invalid(by, fmt.Sprintf("%s.allowOrigins[%d].regex", field, i), model.ReasonInvalidRegex,
				fmt.Sprintf("the regex %q is not RE2 (%v); correct it", o.Value, err))
		}
	}
	return checkTime(by, field+".maxAge", rule.CORS.MaxAge)
}

// httpFault translates f. A share of 0 stays, so that it can be seen in Envoy.
func httpFault(f *model.FaultInjection) *faultv3.HTTPFault {
	out := &faultv3.HTTPFault{DisableDownstreamClusterStats: true}
	if d := f.Delay; d != nil {
		out.Delay = &commonfaultv3.FaultDelay{
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(d.Fixed)},
			Percentage:         fraction(d.Percent),
		}
	}
	if a := f.Abort; a != nil {
		out.Abort = &faultv3.FaultAbort{
			ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: a.HTTPStatus},
			Percentage: fraction(a.Percent),
		}
		if a.HasGRPC {
			out.Abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: a.GRPCStatus}
		}
	}
	return out
}

// fraction returns a share of 0 to 100 percent, exact to a ten-thousandth.
func fraction(percent float64) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{
		Numerator:   uint32(math.Round(percent * 10_000)),
		Denominator: typev3.FractionalPercent_MILLION,
	}
}

// corsPolicy translates c. Without origins it allows none; without methods or
// headers a preflight's answer does not name any.
func corsPolicy(c *model.CORSPolicy) *corsv3.CorsPolicy {
	out := &corsv3.CorsPolicy{
		AllowMethods:  strings.Join(c.AllowMethods, ","),
		AllowHeaders:  strings.Join(c.AllowHeaders, ","),
		ExposeHeaders: strings.Join(c.ExposeHeaders, ","),
		FilterEnabled: &corev3.RuntimeFractionalPercent{
			DefaultValue: &typev3.FractionalPercent{Numerator: 100},
		},
		ForwardNotMatchingPreflights: wrapperspb.Bool(c.ForwardUnmatched),
	}
	for _, o := range c.AllowOrigins {
		out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, originMatcher(o))
	}
	if c.MaxAge != nil {
		out.MaxAge = strconv.FormatInt(int64(*c.MaxAge/time.Second), 10)
	}
	if c.AllowCredentials != nil {
		out.AllowCredentials = wrapperspb.Bool(*c.AllowCredentials)
	}
	return out
}

// originMatcher compares an Origin header; "*" means any to Envoy.
func originMatcher(o model.StringMatch) *matcherv3.StringMatcher {
	if isPresent(o) {
		return stringMatcher(model.StringMatch{Value: "*"})
	}
	return stringMatcher(o)
}
