package model

import (
	"net"
	"strconv"
	"strings"
)

// This file owns the name of every xDS resource. Names are an API: people
// search for them in Envoy's dumps, logs and metrics.

// ClusterName returns the name of a destination's cluster, as Istio writes it:
// "outbound|443|v1|reviews.default.svc.cluster.local". The endpoints of the
// cluster carry the same name.
func ClusterName(d Destination) string {
	return "outbound|" + strconv.FormatUint(uint64(d.Port), 10) + "|" + d.Subset + "|" + d.Host
}

// StatName returns the name under which a cluster's stats appear: the cluster
// name without dots and bars, which Envoy's stat patterns need.
func StatName(cluster string) string {
	return strings.NewReplacer(".", "_", "|", ";").Replace(cluster)
}

// ListenerName returns the name of the listener on an address: "0.0.0.0_80".
func ListenerName(b Bind) string {
	return b.Address + "_" + strconv.FormatUint(uint64(b.Port), 10)
}

// TableName returns the name of the route table of a plain HTTP bind: "http.80",
// with ".address" behind it for an address other than [AnyAddress]. It never
// contains a slash: the scope key ends it there.
func TableName(b Bind) string {
	name := "http." + strconv.FormatUint(uint64(b.Port), 10)
	if b.Address != AnyAddress {
		name += "." + strings.ReplaceAll(b.Address, "/", "_")
	}
	return name
}

// ScopeName returns the name and the key of the scope of one host in a table,
// and of the RouteConfiguration behind it: "http.80/a.example.com".
func ScopeName(table, host string) string { return table + "/" + host }

// SecretName returns the name under which a Secret object is served to
// clusters: "secret/namespace/name" for the key pair, with "/ca" behind it for
// the authorities that it trusts.
func SecretName(namespace, name string, ca bool) string {
	s := "secret/" + namespace + "/" + name
	if ca {
		s += "/ca"
	}
	return s
}

// The extension configs of the scoped layout; see package gateway.
const (
	ExtensionFallback        = "sluice.fallback"
	ExtensionFallbackUpgrade = "sluice.fallback.upgrade"
	// HeaderScope carries the scope key inside Envoy; clients cannot set it.
	HeaderScope = "x-sluice-scope"
	// HeaderReason says on a response of Sluice's own why it is not the
	// destination's.
	HeaderReason = "x-sluice-reason"
)

// AnyAddress is the address of a server without a bind.
const AnyAddress = "0.0.0.0"

// Bind is where a listener listens.
type Bind struct {
	Address string // IP address
	Port    uint32
}

// String returns host:port, as people write it.
func (b Bind) String() string {
	return net.JoinHostPort(b.Address, strconv.FormatUint(uint64(b.Port), 10))
}

// Covers reports whether every host that narrow stands for is one that wide
// stands for: "*" covers all, "*.example.com" every name that ends in
// ".example.com", an exact name only itself.
func Covers(wide, narrow string) bool {
	if wide == narrow || wide == "*" {
		return true
	}
	return strings.HasPrefix(wide, "*.") && strings.HasSuffix(narrow, wide[1:])
}
