package destination

import (
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// connectionPool reads the bounds of connections; nil with any fault.
func (r reader) connectionPool(at *strict.Path, in *networking.ConnectionPoolSettings) *model.ConnectionPool {
	if in == nil || r.At(at) {
		return nil
	}
	out := &model.ConnectionPool{}
	r.poolTCP(at.Field("tcp"), in.GetTcp(), out)
	r.poolHTTP(at.Field("http"), in.GetHttp(), out)
	if r.Broken(at) != "" {
		return nil
	}
	return out
}

func (r reader) poolTCP(at *strict.Path, in *networking.ConnectionPoolSettings_TCPSettings, out *model.ConnectionPool) {
	if in == nil || r.At(at) {
		return
	}
	out.MaxConnections = r.count(at.Field("maxConnections"), in.GetMaxConnections())
	out.ConnectTimeout = strict.Duration(in.GetConnectTimeout())
	out.MaxConnectionDuration = strict.Duration(in.GetMaxConnectionDuration())
	out.TCPIdleTimeout = strict.Duration(in.GetIdleTimeout())
	r.positive(at.Field("connectTimeout"), out.ConnectTimeout)
	r.positive(at.Field("maxConnectionDuration"), out.MaxConnectionDuration)
	if keepalive := in.GetTcpKeepalive(); keepalive != nil {
		p := at.Field("tcpKeepalive")
		out.Keepalive = &model.TCPKeepalive{
			Probes:   keepalive.GetProbes(),
			Time:     keepalive.GetTime().AsDuration(),
			Interval: keepalive.GetInterval().AsDuration(),
		}
		r.seconds(p.Field("time"), strict.Duration(keepalive.GetTime()))
		r.seconds(p.Field("interval"), strict.Duration(keepalive.GetInterval()))
	}
}

// seconds checks a duration that the system counts in whole seconds.
func (r reader) seconds(at *strict.Path, d *time.Duration) {
	if d != nil && (*d < time.Second || *d%time.Second != 0) && !r.At(at) {
		r.Fail(at, strict.Invalid("%s is no whole number of seconds; write one of 1s or more", *d))
	}
}

func (r reader) poolHTTP(at *strict.Path, in *networking.ConnectionPoolSettings_HTTPSettings, out *model.ConnectionPool) {
	if in == nil || r.At(at) {
		return
	}
	out.HTTP1MaxPendingRequests = r.count(at.Field("http1MaxPendingRequests"), in.GetHttp1MaxPendingRequests())
	out.HTTP2MaxRequests = r.count(at.Field("http2MaxRequests"), in.GetHttp2MaxRequests())
	out.MaxRequestsPerConnection = r.count(at.Field("maxRequestsPerConnection"), in.GetMaxRequestsPerConnection())
	if n := r.count(at.Field("maxRetries"), in.GetMaxRetries()); n > 0 {
		out.MaxRetries = &n
	}
	out.HTTPIdleTimeout = strict.Duration(in.GetIdleTimeout())
	out.MaxConcurrentStreams = r.count(at.Field("maxConcurrentStreams"), in.GetMaxConcurrentStreams())
	out.UseClientProtocol = in.GetUseClientProtocol()
	switch in.GetH2UpgradePolicy() {
	case networking.ConnectionPoolSettings_HTTPSettings_UPGRADE:
		out.H2Upgrade = model.H2UpgradeAlways
	case networking.ConnectionPoolSettings_HTTPSettings_DO_NOT_UPGRADE:
		out.H2Upgrade = model.H2UpgradeNever
	}
	if out.UseClientProtocol && out.H2Upgrade == model.H2UpgradeAlways {
		r.Fail(at.Field("useClientProtocol"), strict.Invalid("useClientProtocol and h2UpgradePolicy UPGRADE exclude each other; remove one of them"))
	}
	if keepalive := in.GetHttp2KeepAlive(); keepalive != nil {
		out.HTTP2Keepalive = r.http2Keepalive(at.Field("http2KeepAlive"), keepalive)
	}
}

func (r reader) http2Keepalive(at *strict.Path, in *networking.ConnectionPoolSettings_HTTPSettings_ConnectionKeepalive) *model.HTTP2Keepalive {
	interval, timeout := strict.Duration(in.GetInterval()), strict.Duration(in.GetTimeout())
	for name, d := range map[string]*time.Duration{"interval": interval, "timeout": timeout} {
		if d == nil && !r.At(at) && !r.Any(at.Field(name)) {
			r.Fail(at.Field(name), strict.Missing("%s is missing; add it", name))
		}
		r.positive(at.Field(name), d)
	}
	return &model.HTTP2Keepalive{Interval: in.GetInterval().AsDuration(), Timeout: in.GetTimeout().AsDuration()}
}

// outlier reads which endpoints are ejected; nil with any fault.
func (r reader) outlier(at *strict.Path, in *networking.OutlierDetection) *model.OutlierDetection {
	if in == nil || r.At(at) {
		return nil
	}
	out := &model.OutlierDetection{
		Consecutive5xx:         strict.Uint32(in.GetConsecutive_5XxErrors()),
		ConsecutiveGateway:     strict.Uint32(in.GetConsecutiveGatewayErrors()),
		SplitLocalOrigin:       in.GetSplitExternalLocalOriginErrors(),
		ConsecutiveLocalOrigin: strict.Uint32(in.GetConsecutiveLocalOriginFailures()),
		Interval:               strict.Duration(in.GetInterval()),
		BaseEjectionTime:       strict.Duration(in.GetBaseEjectionTime()),
		MaxEjectionPercent:     r.count(at.Field("maxEjectionPercent"), in.GetMaxEjectionPercent()),
		MinHealthPercent:       r.count(at.Field("minHealthPercent"), in.GetMinHealthPercent()),
	}
	older := at.Field("consecutiveErrors") // deprecated: counts gateway errors
	if n := r.count(older, in.GetConsecutiveErrors()); n > 0 {
		if out.ConsecutiveGateway != nil {
			r.Warn(older, strict.Invalid("consecutiveErrors does not count beside consecutiveGatewayErrors; remove it"))
		} else {
			out.ConsecutiveGateway = &n
		}
	}
	r.percentage(at.Field("maxEjectionPercent"), float64(out.MaxEjectionPercent))
	r.percentage(at.Field("minHealthPercent"), float64(out.MinHealthPercent))
	r.positive(at.Field("interval"), out.Interval)
	r.positive(at.Field("baseEjectionTime"), out.BaseEjectionTime)
	if out.ConsecutiveLocalOrigin != nil && !out.SplitLocalOrigin {
		r.Warn(at.Field("consecutiveLocalOriginFailures"), strict.Invalid("local failures are not counted apart; set splitExternalLocalOriginErrors to true, or remove it"))
	}
	out.HTTPCodes = r.codes(at.Field("outlierDetectionHttpErrorCodes"), in.GetOutlierDetectionHttpErrorCodes())
	if r.Broken(at) != "" {
		return nil
	}
	return out
}

// codes reads the status codes that count as errors.
func (r reader) codes(at *strict.Path, in []uint32) []uint32 {
	var out []uint32
	for i, code := range in {
		if (code < 100 || code > 599) && !r.At(at.Element(i)) {
			r.Fail(at.Element(i), strict.Invalid("%d is no status code; write a number from 100 to 599", code))
		}
		out = append(out, code)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
