package route

import (
	"slices"
	"strconv"
	"strings"
	"time"

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
	r.retryOn(at.Field("retryOn"), in.GetRetryOn(), out)
	return out
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
