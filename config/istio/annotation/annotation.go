// Package annotation reads the annotations of objects of any kind: those of
// sluice.dev, which go beyond the API of the object, and those of Istio.
//
// What goes in: the text of one annotation. What comes out: what it means, and
// a sentence for each of its faults. It alone decides their syntax.
package annotation

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/sluicegw/sluice/model"
)

// The names of the annotations.
const (
	// ProxyProtocol is for gateways, see [ParseProxyProtocol].
	ProxyProtocol = "sluice.dev/proxy-protocol"
	// MaxConnections is for gateways, see [ParseMaxConnections].
	MaxConnections = "sluice.dev/max-connections"
	// TLS, TLSAllow, TLSLayout and HTTP3 are for gateways, see [ParseTLS],
	// [ParseTLSAllow], [ParseTLSLayout] and [ParseHTTP3].
	TLS       = "sluice.dev/tls"
	TLSAllow  = "sluice.dev/tls-allow"
	TLSLayout = "sluice.dev/tls-layout"
	HTTP3     = "sluice.dev/http3"
	// HealthCheck is for services, see [ParseHealthCheck].
	HealthCheck = "sluice.dev/health-check"
	// ExportTo is Istio's, for Kubernetes services: namespaces between commas,
	// see [ParseVisibility].
	ExportTo = "networking.istio.io/exportTo"
)

// Fault is what is wrong with one word of a list.
type Fault struct {
	Index   int
	Message string
}

// ParseVisibility reads a list of namespaces: "*" for all, "." for the object's
// own, "~" for none, or names. Words with a fault are left out; when nothing is
// left of a list the object is visible nowhere. An empty list means everywhere.
func ParseVisibility(words []string, own string) (model.Visibility, []Fault) {
	if len(words) == 0 {
		return nil, nil
	}
	visible := model.Visibility{}
	var faults []Fault
	everywhere := false
	for i, word := range words {
		switch {
		case word == "*":
			everywhere = true
			continue
		case word == "~":
			if len(words) > 1 {
				faults = append(faults, Fault{i, `"~" makes the object visible nowhere and is left out beside others; write it alone or remove it`})
			}
			continue
		case word == ".":
			word = own
		case !model.IsLabel(word):
			faults = append(faults, Fault{i, quote(word) + ` names no namespace and is left out; write a name, "." for the object's own, "*" for all or "~" for none`})
			continue
		}
		if !slices.Contains(visible, word) {
			visible = append(visible, word)
		}
	}
	if everywhere {
		return nil, faults
	}
	slices.Sort(visible)
	return visible, faults
}

// ParseProxyProtocol reads from whom the PROXY protocol is taken: "*" for
// everybody, or CIDRs and IP addresses between commas. What has a fault is
// trusted by nobody; nil when nothing is left.
func ParseProxyProtocol(text string) (*model.ProxyProtocolIn, []string) {
	if strings.TrimSpace(text) == "*" {
		return &model.ProxyProtocolIn{}, nil
	}
	var out model.ProxyProtocolIn
	var faults []string
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		prefix, ok := ParsePrefix(word)
		if !ok {
			faults = append(faults, quote(word)+` is no range of IP addresses and is not trusted; write CIDRs between commas, or "*" alone for everybody`)
			continue
		}
		if !slices.Contains(out.Trusted, prefix) {
			out.Trusted = append(out.Trusted, prefix)
		}
	}
	if len(out.Trusted) == 0 {
		return nil, faults
	}
	return &out, faults
}

// ParsePrefix reads a CIDR or an IP address, and returns the CIDR in its
// shortest form.
func ParsePrefix(s string) (string, bool) {
	if address, err := netip.ParseAddr(s); err == nil && address.Zone() == "" {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()).String(), true
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil || prefix.Addr().Is4In6() {
		return "", false
	}
	return prefix.Masked().String(), true
}

// ParseMaxConnections reads the bound of open connections of each server of a
// gateway, 1 or more; the fault is "" when there is none.
func ParseMaxConnections(text string) (limit uint32, fault string) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		return 0, quote(text) + " is no number of connections and is ignored; write a whole number of 1 or more"
	}
	return uint32(n), ""
}

// quote returns a value of the user as it appears in a message.
func quote(s string) string {
	const longest = 80
	if len(s) > longest {
		s = s[:longest] + "…"
	}
	return fmt.Sprintf("%q", s)
}
