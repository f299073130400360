package routing

import (
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

const (
	// onStatusCodes makes Envoy look at the list of status codes.
	onStatusCodes = "retriable-status-codes"
	// defaultRetryOn is when a request is tried again if nothing is said.
	// A 503 that a destination answered itself is not: it may have acted on the
	// request. Istio leaves it out since 1.24.
	defaultRetryOn = "connect-failure,refused-stream,unavailable,cancelled"
	// hostSelections is how often an endpoint is picked again because it was
	// tried before.
	hostSelections = 5
	// prioritiesEvery is the number of attempts after which the priorities that
	// were tried are left out.
	prioritiesEvery = 2
)

// defaultRetryPolicy stands once on the virtual host, for all routes that do
// not say otherwise: at ten thousand hosts a copy on every route costs Envoy
// 10 MB.
//
// Source: Istio's default policy.
func defaultRetryPolicy() *routev3.RetryPolicy {
	return retryPolicy(&model.Retries{Attempts: model.DefaultRetries})
}

// retryPolicy translates r; nil leaves it to the virtual host, 0 attempts are
// an empty policy, which overrides that of the virtual host with none.
func retryPolicy(r *model.Retries) *routev3.RetryPolicy {
	if r == nil {
		return nil
	}
	if r.Attempts == 0 {
		return &routev3.RetryPolicy{}
	}
	out := &routev3.RetryPolicy{
		NumRetries:                    wrapperspb.UInt32(r.Attempts),
		HostSelectionRetryMaxAttempts: hostSelections,
	}
	out.RetryOn, out.RetriableStatusCodes = retryOn(r)
	if r.PerTryTimeout != nil {
		out.PerTryTimeout = durationpb.New(*r.PerTryTimeout)
	}
	if r.Backoff != nil {
		out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(*r.Backoff)}
	}
	if r.IgnorePreviousHosts == nil || *r.IgnorePreviousHosts {
		out.RetryHostPredicate = []*routev3.RetryPolicy_RetryHostPredicate{{
			Name: "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
				TypedConfig: packed(&previoushostsv3.PreviousHostsPredicate{}),
			},
		}}
	}
	if r.RemoteLocalities != nil && *r.RemoteLocalities {
		out.RetryPriority = &routev3.RetryPolicy_RetryPriority{
			Name: "envoy.retry_priorities.previous_priorities",
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{
				TypedConfig: packed(&previousprioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: prioritiesEvery}),
			},
		}
	}
	return out
}

// retryOn returns the conditions and the status codes. Codes alone imply the
// condition that makes them count.
func retryOn(r *model.Retries) (string, []uint32) {
	if len(r.RetryOn) == 0 && len(r.StatusCodes) == 0 {
		return defaultRetryOn, nil
	}
	on := slices.Clone(r.RetryOn)
	if len(r.StatusCodes) > 0 && !slices.Contains(on, onStatusCodes) {
		on = append(on, onStatusCodes)
	}
	return strings.Join(on, ","), r.StatusCodes
}

// packed wraps a message that is known to marshal.
func packed(m proto.Message) *anypb.Any {
	out := &anypb.Any{}
	// What comes here was validated or is of fixed shape: it marshals.
	_ = anypb.MarshalFrom(out, m, proto.MarshalOptions{Deterministic: true})
	return out
}
