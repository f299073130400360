package route

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// retries reads when a rule tries again; nil when it does not say.
func (r reader) retries(at *strict.Path, in *networking.HTTPRetry) *model.Retries {
	if in == nil {
		return nil
	}
	out := &model.Retries{
		Attempts:            uint32(max(in.GetAttempts(), 0)),
		PerTryTimeout:       strict.Duration(in.GetPerTryTimeout()),
		RemoteLocalities:    strict.Bool(in.GetRetryRemoteLocalities()),
		IgnorePreviousHosts: strict.Bool(in.GetRetryIgnorePreviousHosts()),
		Backoff:             strict.Duration(in.GetBackoff()),
	}
	if in.GetAttempts() < 0 {
		r.Fail(at.Field("attempts"), strict.Invalid("%d is negative; write 0 for no retries", in.GetAttempts()))
	}
	if out.Backoff != nil && *out.Backoff < time.Millisecond {
		r.Fail(at.Field("backoff"), strict.Invalid("%s is too short; write at least 1ms", *out.Backoff))
	}
	r.notBelowGrain(at.Field("perTryTimeout"), out.PerTryTimeout)
	r.attempts(at, in, out)
	r.retryOn(at.Field("retryOn"), in.GetRetryOn(), out)
	return out
}

// attempts fills in the number of retries when it is not given: the default one
// for who says something else of them.
func (r reader) attempts(at *strict.Path, in *networking.HTTPRetry, out *model.Retries) {
	number := at.Field("attempts")
	if in.GetAttempts() != 0 || r.Zero(number) || r.Any(at) {
		return
	}
	if proto.Equal(in, &networking.HTTPRetry{}) {
		r.Warn(at, strict.Missing("an empty retries turns them off; write attempts: 0 to say so, or remove it for the default of %d", model.DefaultRetries))
		return
	}
	out.Attempts = model.DefaultRetries
	r.Warn(number, strict.Missing("attempts is not given and the default of %d holds; write it, 0 for no retries", model.DefaultRetries))
}

// notBelowGrain checks a limit of time, which Envoy counts in milliseconds: what
// is left of less than one is 0, and 0 is no limit.
func (r reader) notBelowGrain(at *strict.Path, d *time.Duration) {
	if d != nil && *d > 0 && *d < time.Millisecond {
		r.Fail(at, strict.Invalid("%s is below the millisecond that is the shortest limit, and would mean none; write 1ms or more, or 0s for no limit", *d))
	}
}

// times checks the limits of time of a rule against each other.
func (r reader) times(at *strict.Path, rule *model.HTTPRule) {
	r.notBelowGrain(at.Field("timeout"), rule.Timeout)
	if rule.Timeout == nil || *rule.Timeout <= 0 {
		return
	}
	if re := rule.Retries; re != nil && re.PerTryTimeout != nil && *re.PerTryTimeout > *rule.Timeout {
		r.Warn(at.Field("retries").Field("perTryTimeout"), strict.Invalid("%s is longer than the timeout of %s, which ends the first try and leaves no time for another; write a shorter one",
			*re.PerTryTimeout, *rule.Timeout))
	}
	if in := rule.Inject; in != nil && in.Delay != nil && in.Delay.Fixed > *rule.Timeout {
		r.Warn(at.Field("fault").Field("delay").Field("fixedDelay"), strict.Invalid("%s is longer than the timeout of %s, which counts from the end of the delay and does not cut it; to see clients time out, delay at the destination",
			in.Delay.Fixed, *rule.Timeout))
	}
}

// retryOn reads the conditions of retries, between commas; numbers are status
// codes. Unknown ones are left out; without any that is known there are no
// retries, rather than those of the default.
func (r reader) retryOn(at *strict.Path, words string, out *model.Retries) {
	if words == "" {
		return
	}
	for word := range strings.SplitSeq(words, ",") {
		word = strings.TrimSpace(word)
		code, err := strconv.ParseUint(word, 10, 32)
		switch {
		case word == "":
		case err == nil && code >= 100 && code <= 599:
			if !slices.Contains(out.StatusCodes, uint32(code)) {
				out.StatusCodes = append(out.StatusCodes, uint32(code))
			}
		case slices.Contains(retryConditions(), word):
			if !slices.Contains(out.RetryOn, word) {
				out.RetryOn = append(out.RetryOn, word)
			}
		default:
			message := strict.Quote(word) + " is no condition for retries and is left out; "
			if near := strict.Nearest(word, retryConditions()); near != "" {
				message += "did you mean " + strict.Quote(near) + "?"
			} else {
				message += "write one of Envoy's, or a status code"
			}
			r.Note(at, strict.Invalid("%s", message))
		}
	}
	if len(out.RetryOn) == 0 && len(out.StatusCodes) == 0 {
		out.Attempts = 0
	}
}

// retryConditions returns Envoy's words, x-envoy-retry-on and
// x-envoy-retry-grpc-on of the router filter.
func retryConditions() []string {
	return []string{
		"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited",
		"retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers",
		"http3-post-connect-failure",
		"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
	}
}
