package destination

import (
	"slices"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// traffic reads a traffic policy block by block; nil when not given.
func (r reader) traffic(at *strict.Path, in *networking.TrafficPolicy) *model.TrafficPolicy {
	if in == nil || r.At(at) {
		return nil
	}
	return &model.TrafficPolicy{
		LoadBalancer:   r.loadBalancer(at.Field("loadBalancer"), in.GetLoadBalancer()),
		ConnectionPool: r.connectionPool(at.Field("connectionPool"), in.GetConnectionPool()),
		Outlier:        r.outlier(at.Field("outlierDetection"), in.GetOutlierDetection()),
		TLS:            r.tls(at.Field("tls"), in.GetTls()),
		Ports:          r.ports(at.Field("portLevelSettings"), in.GetPortLevelSettings()),
		Tunnel:         r.tunnel(at.Field("tunnel"), in.GetTunnel()),
		ProxyProtocol:  r.proxyProtocol(at.Field("proxyProtocol"), in.GetProxyProtocol()),
		RetryBudget:    r.retryBudget(at.Field("retryBudget"), in.GetRetryBudget()),
	}
}

// ports reads the policies of single ports. One without a usable port is left
// out, and so is a second one of the same port.
func (r reader) ports(at *strict.Path, in []*networking.TrafficPolicy_PortTrafficPolicy) []model.PortPolicy {
	var out []model.PortPolicy
	seen := map[uint32]bool{}
	for i, policy := range in {
		p := at.Element(i)
		if r.At(p) {
			continue
		}
		port := policy.GetPort().GetNumber()
		if where := p.Field("port"); policy.GetPort() == nil && !r.Any(where) {
			r.Fail(where, strict.Missing("port is missing and the settings are left out; add it with a number"))
		} else if !r.Any(where) {
			r.Fail(where.Field("number"), check.Port(port))
		}
		if seen[port] {
			r.Fail(p.Field("port"), strict.Invalid("port %d has settings already and these are left out; remove one of them", port))
		}
		read := model.PortPolicy{
			Port:           port,
			LoadBalancer:   r.loadBalancer(p.Field("loadBalancer"), policy.GetLoadBalancer()),
			ConnectionPool: r.connectionPool(p.Field("connectionPool"), policy.GetConnectionPool()),
			Outlier:        r.outlier(p.Field("outlierDetection"), policy.GetOutlierDetection()),
			TLS:            r.tls(p.Field("tls"), policy.GetTls()),
		}
		if !r.Any(p.Field("port")) {
			seen[port] = true
			out = append(out, read)
		}
	}
	slices.SortFunc(out, func(a, b model.PortPolicy) int { return int(a.Port) - int(b.Port) })
	return out
}

func (r reader) tunnel(at *strict.Path, in *networking.TrafficPolicy_TunnelSettings) *model.Tunnel {
	if in == nil {
		return nil
	}
	out := &model.Tunnel{TargetPort: in.GetTargetPort()}
	switch strings.ToUpper(in.GetProtocol()) {
	case "", "CONNECT":
	case "POST":
		out.Post = true
	default:
		r.Fail(at.Field("protocol"), strict.Invalid("%s is no way to tunnel; write CONNECT or POST", strict.Quote(in.GetProtocol())))
	}
	if host := at.Field("targetHost"); !r.At(at) && !r.Any(host) {
		var wrong *strict.Finding
		out.TargetHost, wrong = check.ParseName(in.GetTargetHost(), check.Form{IP: true})
		r.Fail(host, wrong)
	}
	if port := at.Field("targetPort"); !r.At(at) && !r.Any(port) {
		r.Fail(port, check.Port(in.GetTargetPort()))
	}
	if r.Broken(at) != "" {
		return nil
	}
	return out
}

func (r reader) proxyProtocol(at *strict.Path, in *networking.TrafficPolicy_ProxyProtocol) model.ProxyProtocol {
	if in == nil || r.Broken(at) != "" {
		return 0
	}
	if in.GetVersion() == networking.TrafficPolicy_ProxyProtocol_V2 {
		return 2
	}
	return 1
}

func (r reader) retryBudget(at *strict.Path, in *networking.TrafficPolicy_RetryBudget) *model.RetryBudget {
	const defaultPercent, defaultConcurrency = 20, 3 // Istio's
	if in == nil {
		return nil
	}
	out := &model.RetryBudget{
		Percent:        strict.Float(in.GetPercent(), defaultPercent),
		MinConcurrency: in.GetMinRetryConcurrency(),
		Interval:       strict.Duration(in.GetBudgetInterval()),
	}
	if out.MinConcurrency == 0 {
		out.MinConcurrency = defaultConcurrency
	}
	r.percentage(at.Field("percent"), out.Percent)
	r.positive(at.Field("budgetInterval"), out.Interval)
	if r.Broken(at) != "" {
		return nil
	}
	return out
}

// percentage checks a number from 0 to 100.
func (r reader) percentage(at *strict.Path, n float64) {
	if (n < 0 || n > 100) && !r.At(at) {
		r.Fail(at, strict.Invalid("%v is no percentage; write a number from 0 to 100", n))
	}
}

// positive checks a duration that may not be nothing.
func (r reader) positive(at *strict.Path, d *time.Duration) {
	if d != nil && *d < time.Millisecond && !r.At(at) {
		r.Fail(at, strict.Invalid("%s is too short; write at least 1ms", *d))
	}
}

// count reads a number that may not be negative.
func (r reader) count(at *strict.Path, n int32) uint32 {
	if n < 0 {
		r.Fail(at, strict.Invalid("%d is negative; write 0 or more", n))
	}
	return uint32(max(n, 0))
}
