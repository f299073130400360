package destination

import (
	"math/big"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

const (
	// maxRingSize is Envoy's limit for the size of a hash ring.
	maxRingSize = 8 << 20
	// maxTableSize is Envoy's and Istio's limit for the size of a Maglev table,
	// not included.
	maxTableSize = 5_000_011
)

// hash reads how equal keys reach the same endpoint; nil with any fault.
func (r reader) hash(at *strict.Path, in *networking.LoadBalancerSettings_ConsistentHashLB) *model.ConsistentHash {
	if in == nil || r.At(at) {
		return nil
	}
	out := &model.ConsistentHash{}
	r.hashKey(at, in, out)
	r.hashAlgorithm(at, in, out)
	if r.Broken(at) != "" {
		return nil
	}
	return out
}

func (r reader) hashKey(at *strict.Path, in *networking.LoadBalancerSettings_ConsistentHashLB, out *model.ConsistentHash) {
	switch key := in.GetHashKey().(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		out.Header = strings.ToLower(key.HttpHeaderName)
		if !strings.HasPrefix(out.Header, ":") || !check.IsToken(out.Header[1:]) {
			r.Fail(at.Field("httpHeaderName"), check.HeaderName(out.Header))
		}
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		out.Cookie = r.cookie(at.Field("httpCookie"), key.HttpCookie)
	case *networking.LoadBalancerSettings_ConsistentHashLB_UseSourceIp:
		out.SourceIP = key.UseSourceIp
		if !key.UseSourceIp {
			r.Fail(at.Field("useSourceIp"), strict.Invalid("false leaves no key to hash by; write true or another key"))
		}
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		out.QueryParameter = key.HttpQueryParameterName
		if out.QueryParameter == "" {
			r.Fail(at.Field("httpQueryParameterName"), strict.Invalid("the name of the query parameter is empty; write one"))
		}
	default:
		if r.Broken(at) == "" {
			r.Fail(at, strict.Missing("no key to hash by is given; add httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName"))
		}
	}
}

func (r reader) cookie(at *strict.Path, in *networking.LoadBalancerSettings_ConsistentHashLB_HTTPCookie) *model.HashCookie {
	out := &model.HashCookie{Name: in.GetName(), Path: in.GetPath(), TTL: strict.Duration(in.GetTtl())}
	if name := at.Field("name"); !check.IsToken(out.Name) && !r.At(at) && !r.Any(name) {
		r.Fail(name, strict.Invalid("%s is no name of a cookie; use letters, digits and hyphens", strict.Quote(out.Name)))
	}
	r.Fail(at.Field("path"), checkCookieText(out.Path))
	for i, attribute := range in.GetAttributes() {
		p := at.Field("attributes").Element(i)
		if r.At(p) {
			continue
		}
		if name := p.Field("name"); !check.IsToken(attribute.GetName()) && !r.Any(name) {
			r.Fail(name, strict.Invalid("%s is no name of an attribute; use letters, digits and hyphens", strict.Quote(attribute.GetName())))
		}
		r.Fail(p.Field("value"), checkCookieText(attribute.GetValue()))
		out.Attributes = append(out.Attributes, model.HeaderValue{Name: attribute.GetName(), Value: attribute.GetValue()})
	}
	return out
}

// checkCookieText checks what follows an equals sign in a Set-Cookie header.
// Source: RFC 6265 section 4.1.1.
func checkCookieText(s string) *strict.Finding {
	if strings.Contains(s, ";") {
		return strict.Invalid("%s holds a semicolon, which ends the value; remove it", strict.Quote(s))
	}
	return check.HeaderText(s)
}

func (r reader) hashAlgorithm(at *strict.Path, in *networking.LoadBalancerSettings_ConsistentHashLB, out *model.ConsistentHash) {
	older := at.Field("minimumRingSize")
	out.MinimumRingSize = in.GetMinimumRingSize()
	ring := older
	switch algorithm := in.GetHashAlgorithm().(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_RingHash_:
		ring = at.Field("ringHash").Field("minimumRingSize")
		out.MinimumRingSize = algorithm.RingHash.GetMinimumRingSize()
	case *networking.LoadBalancerSettings_ConsistentHashLB_Maglev:
		out.Maglev, out.MinimumRingSize = true, 0
		out.TableSize = algorithm.Maglev.GetTableSize()
		if n := out.TableSize; n != 0 && (n >= maxTableSize || !new(big.Int).SetUint64(n).ProbablyPrime(0)) {
			r.Fail(at.Field("maglev").Field("tableSize"), strict.Invalid("%d is no size of a table; write a prime number below %d, for example 65537", n, maxTableSize))
		}
	}
	if in.GetMinimumRingSize() != 0 && in.GetHashAlgorithm() != nil {
		r.Warn(older, strict.Invalid("minimumRingSize does not count beside ringHash or maglev; remove it"))
	}
	if out.MinimumRingSize > maxRingSize {
		r.Fail(ring, strict.Invalid("%d is too large; write at most %d", out.MinimumRingSize, maxRingSize))
	}
}
