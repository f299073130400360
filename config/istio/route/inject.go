package route

import (
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// inject reads the faults that a rule makes on purpose; nil when it makes none.
func (r reader) inject(at *strict.Path, in *networking.HTTPFaultInjection) *model.FaultInjection {
	if in == nil {
		return nil
	}
	out := &model.FaultInjection{
		Delay: r.faultDelay(at.Field("delay"), in.GetDelay()),
		Abort: r.faultAbort(at.Field("abort"), in.GetAbort()),
	}
	if in.GetDelay() == nil && in.GetAbort() == nil && !r.Any(at) {
		r.Fail(at, strict.Missing("the fault does nothing; add delay or abort"))
	}
	if out.Delay == nil && out.Abort == nil {
		return nil
	}
	return out
}

func (r reader) faultDelay(at *strict.Path, in *networking.HTTPFaultInjection_Delay) *model.FaultDelay {
	if in == nil {
		return nil
	}
	share := written{at: at.Field("percentage"), value: in.GetPercentage()}
	if in.GetPercent() != 0 { // deprecated
		share.old, share.oldAt = float64(in.GetPercent()), at.Field("percent")
	}
	out := &model.FaultDelay{Percent: r.percent(share)}
	fixed, given := in.GetHttpDelayType().(*networking.HTTPFaultInjection_Delay_FixedDelay)
	if !given {
		if !r.Any(at) {
			r.Fail(at, strict.Missing("the delay has no length; add fixedDelay"))
		}
		return nil
	}
	out.Fixed = fixed.FixedDelay.AsDuration()
	if out.Fixed < time.Millisecond && r.Broken(at) == "" {
		r.Fail(at.Field("fixedDelay"), strict.Invalid("%s is too short; write at least 1ms", out.Fixed))
	}
	return out
}

func (r reader) faultAbort(at *strict.Path, in *networking.HTTPFaultInjection_Abort) *model.FaultAbort {
	if in == nil {
		return nil
	}
	out := &model.FaultAbort{Percent: r.percent(written{at: at.Field("percentage"), value: in.GetPercentage()})}
	switch e := in.GetErrorType().(type) {
	case *networking.HTTPFaultInjection_Abort_HttpStatus:
		out.HTTPStatus = uint32(max(e.HttpStatus, 0))
		if e.HttpStatus < 200 || e.HttpStatus > 599 {
			r.Fail(at.Field("httpStatus"), strict.Invalid("%d is no status to answer with; write a number from 200 to 599", e.HttpStatus))
		}
	case *networking.HTTPFaultInjection_Abort_GrpcStatus:
		code := grpcCode(e.GrpcStatus)
		out.HasGRPC, out.GRPCStatus = true, uint32(max(code, 0))
		if code < 0 {
			r.Fail(at.Field("grpcStatus"), strict.Invalid("%s is no status of gRPC; write its name in capitals, for example UNAVAILABLE", strict.Quote(e.GrpcStatus)))
		}
	default:
		if !r.Any(at) {
			r.Fail(at, strict.Missing("the abort has no status; add httpStatus or grpcStatus"))
		}
		return nil
	}
	return out
}

// grpcCode returns the number of a status of gRPC, -1 for a word that is none.
// Source: the gRPC project's list of status codes.
func grpcCode(name string) int {
	for code, known := range []string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
		"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	} {
		if name == known {
			return code
		}
	}
	return -1
}

// written is a share of the requests as an object gives it.
type written struct {
	at    *strict.Path
	value *networking.Percent
	// old is the value of the deprecated whole number; oldAt is nil when that
	// was not given.
	old   float64
	oldAt *strict.Path
	// absent is what no value at all means.
	absent float64
}

// percent returns a share from 0 to 100.
func (r reader) percent(w written) float64 {
	value, at := w.absent, w.at
	switch {
	case w.value != nil:
		value, at = w.value.GetValue(), w.at.Field("value")
		if w.oldAt != nil {
			r.Warn(w.oldAt, strict.Invalid("the older field does not count beside the newer one; remove it"))
		}
	case w.oldAt != nil:
		value, at = w.old, w.oldAt
	}
	if (value < 0 || value > 100) && r.Broken(at) == "" {
		r.Fail(at, strict.Invalid("%v is no percentage; write a number from 0 to 100", value))
	}
	return value
}
