package check

import (
	"net/netip"
	"strings"

	"github.com/sluicegw/sluice/config/istio/annotation"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// Qualify makes a short name of an object in namespace the name of the service
// there: "reviews" → "reviews.default.svc.cluster.local". Names with dots,
// wildcards and IP addresses stay.
func Qualify(host, namespace string) string {
	if host == "" || strings.ContainsAny(host, ".*:") {
		return host
	}
	return host + "." + namespace + ".svc.cluster.local"
}

// Form says which names a place accepts besides exact DNS names.
type Form struct {
	Wildcard bool // "*" alone or as the first label
	IP       bool
}

// ParseName returns a host as it is compared: lower-case, without trailing dot,
// IP addresses in their shortest form.
func ParseName(host string, form Form) (string, *strict.Finding) {
	if host == "" {
		return "", strict.Missing("the host is empty; write a DNS name")
	}
	if address, err := netip.ParseAddr(host); err == nil {
		if !form.IP || address.Zone() != "" {
			return "", strict.Invalid("%s is an IP address; write a DNS name", strict.Quote(host))
		}
		return address.Unmap().String(), nil
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	rest := name
	if form.Wildcard {
		if name == "*" {
			return name, nil
		}
		rest = strings.TrimPrefix(name, "*.")
	}
	if wrong := DNS(rest); wrong != nil {
		return "", wrong
	}
	if len(name) > 253 {
		return "", strict.Invalid("%s is longer than 253 letters; shorten it", strict.Quote(host))
	}
	return name, nil
}

// DNS checks a lower-case name without wildcard or trailing dot. Source:
// RFC 1123 section 2.1, and underscores as Istio allows them.
func DNS(name string) *strict.Finding {
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if !IsLabel(label) {
			return strict.Invalid("%s is no DNS name: its part %s must be 1 to 63 letters, digits and inner hyphens%s",
				strict.Quote(name), strict.Quote(label), wildcardHint(label))
		}
	}
	if last := labels[len(labels)-1]; len(labels) > 1 && strings.Trim(last, "0123456789") == "" {
		return strict.Invalid("%s is neither a DNS name nor an IP address; correct it", strict.Quote(name))
	}
	return nil
}

// wildcardHint says where a wildcard may stand, if that is the question.
func wildcardHint(label string) string {
	if strings.Contains(label, "*") {
		return `; where a wildcard may be, "*" is the whole first part`
	}
	return ""
}

// IsLabel reports whether s is one lower-case part of a DNS name.
func IsLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// Port checks the number of a port.
func Port(n uint32) *strict.Finding {
	if n == 0 || n > 65535 {
		return strict.Invalid("%d is no port; write a number from 1 to 65535", n)
	}
	return nil
}

// Authority checks a host with or without port that replaces another.
func Authority(s string) *strict.Finding {
	if s == "" || len(s) > 261 {
		return strict.Invalid("%s is no host; write a DNS name or an IP address, with a port if need be", strict.Quote(s))
	}
	for i := range len(s) {
		c := lower(s[i])
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-_.:[]", c) >= 0) {
			return strict.Invalid("%s is no host; write a DNS name or an IP address, with a port if need be", strict.Quote(s))
		}
	}
	return nil
}

// ParseProtocol returns the protocol behind a word in any case, false for a
// word that is none. Source: the protocols of Istio's Port and ServicePort.
func ParseProtocol(word string) (model.Protocol, bool) {
	switch p := model.Protocol(strings.ToUpper(word)); p {
	case model.ProtocolHTTP, model.ProtocolHTTP2, model.ProtocolGRPC, model.ProtocolGRPCWeb,
		model.ProtocolHTTPS, model.ProtocolTLS, model.ProtocolTCP, model.ProtocolUDP,
		model.ProtocolMongo, model.ProtocolMySQL, model.ProtocolRedis:
		return p, true
	}
	return "", false
}

// ProtocolWords lists what ParseProtocol accepts.
const ProtocolWords = "HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, UDP, MONGO, MYSQL or REDIS"

// SubsetName checks the name of a subset, which becomes part of names in
// Envoy.
func SubsetName(name string) *strict.Finding {
	if name == "" {
		return strict.Missing("the subset has no name; give it one")
	}
	if !IsLabel(strings.ToLower(name)) {
		return strict.Invalid("%s is no name of a subset; use up to 63 letters, digits and inner hyphens", strict.Quote(name))
	}
	return nil
}

// ExportTo reads to which namespaces an object is visible. A broken list never
// makes it visible to more.
func ExportTo(r *strict.Reader, at *strict.Path, namespaces []string) model.Visibility {
	visible, faults := annotation.ParseVisibility(namespaces, r.Meta.Ref.Namespace)
	reported := r.Any(at)
	for _, f := range faults {
		if p := at.Element(f.Index); !r.At(p) {
			r.Fail(p, strict.Invalid("%s", f.Message))
		}
	}
	if len(namespaces) == 0 && reported {
		return model.Visibility{}
	}
	return visible
}

// Subnets reads CIDRs; those that cannot be used are left out.
func Subnets(r *strict.Reader, at *strict.Path, subnets []string) []string {
	return r.Names(at, subnets, Subnet)
}

// Subnet reads a CIDR or an IP address.
func Subnet(s string) (string, *strict.Finding) {
	prefix, ok := annotation.ParsePrefix(s)
	if !ok {
		return "", strict.Invalid(`%s is no range of IP addresses; write one like "10.0.0.0/8"`, strict.Quote(s))
	}
	return prefix, nil
}

// SubjectAltName checks a name that the certificate of a server must carry.
func SubjectAltName(name string) (string, *strict.Finding) {
	if name == "" || len(name) > 2048 || HeaderText(name) != nil {
		return "", strict.Invalid("%s is no subject alternative name; write a DNS name or a URI", strict.Quote(name))
	}
	return name, nil
}
