package model

import (
	"iter"
	"net"
	"slices"
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

// Table names a route table: that of the plain-text HTTP servers of a bind, or of
// its TLS hosts of one policy.
type Table struct {
	Bind Bind
	TLS  bool
	// Policy is that of [ServerTLS.Policy]; "" without TLS, and for the hosts that
	// share a chain.
	Policy string
}

// Name returns the name of the route table: "http.80" or "https.443", with
// ".address" behind it for an address other than [AnyAddress] and ".policy" for a
// policy. It never contains a slash: the scope key ends it there.
func (t Table) Name() string {
	name := "http."
	if t.TLS {
		name = "https."
	}
	name += strconv.FormatUint(uint64(t.Bind.Port), 10)
	if t.Bind.Address != AnyAddress {
		name += "." + strings.ReplaceAll(t.Bind.Address, "/", "_")
	}
	if t.Policy != "" {
		name += "." + t.Policy
	}
	return name
}

// ScopeName returns the name and the key of the scope of one host in a table,
// and of the RouteConfiguration behind it: "http.80/a.example.com".
func ScopeName(table, host string) string { return table + "/" + host }

// PlainScope stands in the place of the host in the scope of a whole table in the
// plain layout: "http.80/@". No host has that name.
const PlainScope = "@"

// ExtensionTable returns the name of the extension config that tells new
// connections which layout a table has: "sluice.table/http.80".
func ExtensionTable(table string) string { return "sluice.table/" + table }

// SecretName returns the name under which a credential is served: for a Secret
// "secret/namespace/name", for files "file/path", for an automatic certificate
// "acme/host"; with "/ca" behind it for the authorities that it trusts. It always
// has a slash: names without one are those of [OnDemandName].
func SecretName(c Credential, ca bool) string {
	var s string
	switch {
	case c.Managed != "":
		s = "acme/" + c.Managed
	case c.Name != "":
		s = "secret/" + c.Namespace + "/" + c.Name
	case ca:
		s = "file/" + c.AuthorityFile
		if c.CRLFile != "" {
			s += "+" + c.CRLFile
		}
	default:
		s = "file/" + c.CertificateFile + "+" + c.KeyFile
	}
	if ca {
		s += "/ca"
	}
	return s
}

// OnDemandName returns the name under which the certificate of a TLS host is
// served to a chain that fetches it when a client names it: the host itself,
// "a.example.com", "*.example.com" or "*". Envoy asks for the name that the client
// sent, or for [OnDemandNoName]; the longest name that covers it answers.
func OnDemandName(host string) string { return host }

// Names that are there once.
const (
	// OnDemandNoName is what a chain asks for when a client sent no server name.
	OnDemandNoName = "__default__"
	// SecretTickets names the keys of session tickets.
	SecretTickets = "sluice/tickets"
	// ClusterChallengeHTTP and ClusterChallengeTLS answer ACME challenges.
	ClusterChallengeHTTP = "sluice_acme_http"
	ClusterChallengeTLS  = "sluice_acme_tls"
)

// QUICName returns the name of the listener for HTTP/3 beside the one on b.
func QUICName(b Bind) string { return ListenerName(b) + "_quic" }

// Names of what finds the scope of a request; see package gateway.
const (
	ExtensionFallback = "sluice.fallback"
	// StateTable holds on a connection the scope of its table, if that was in the
	// plain layout when the connection came.
	StateTable = "sluice.table"
	// HeaderScope carries the scope key inside Envoy; clients cannot set it.
	HeaderScope = "x-sluice-scope"
	// HeaderReason says on a response of Sluice's own why it is not the
	// destination's.
	HeaderReason = "x-sluice-reason"
)

// The names of the HTTP filters that a route steers: keys of
// typed_per_filter_config. They are short on purpose. Envoy looks them up for
// every request, and names of up to 22 bytes lie in the map itself: with ten
// thousand hosts, whose maps are never in a cache, that is a tenth of all misses.
const (
	FilterFault = "sluice.fault"
	FilterCORS  = "sluice.cors"
	// FilterState takes what a route says of its dynamic destination.
	FilterState = "sluice.state"
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

// IsLabel reports whether s is one part of a host name, in lower case.
//
// Source: RFC 1123 section 2.1, as Kubernetes has it.
func IsLabel(s string) bool {
	return s != "" && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// LongestHostName is how many characters the name of a host may have.
//
// Source: RFC 1035 section 2.3.4, as text.
const LongestHostName = 253

// IsHostName reports whether s is a name of a host, in lower case and no wildcard.
func IsHostName(s string) bool {
	return len(s) <= LongestHostName && !slices.ContainsFunc(strings.Split(s, "."), func(label string) bool { return !IsLabel(label) })
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

// Narrower returns the narrower of two hosts if one covers the other.
func Narrower(a, b string) (string, bool) {
	switch {
	case Covers(a, b):
		return b, true
	case Covers(b, a):
		return a, true
	}
	return "", false
}

// Covering yields host and every wildcard that covers it, longest first; "*" is
// the last. It is the order in which Envoy looks for a server name.
func Covering(host string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(host) {
			return
		}
		for i := 1; i < len(host); i++ {
			if wild := "*" + host[i:]; host[i] == '.' && wild != host && !yield(wild) {
				return
			}
		}
		if host != "*" {
			yield("*")
		}
	}
}
