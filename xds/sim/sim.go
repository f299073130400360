// Package sim is a small Envoy matcher for tests: it answers "this host, path,
// method and headers: which route, cluster, redirect or direct response".
//
// What goes in: a RouteConfiguration, or the scopes of a route table, as Envoy
// receives them, and a request. What comes out: an [Answer]. It alone decides,
// for tests, what Envoy would do; a test against the real Envoy keeps it
// honest. It is pure and does nothing in production.
//
// It takes the request as the route table sees it: what a connection manager
// does before (path normalisation, refusing bad requests) and after (retries,
// filters) is not played; injected faults and mirrors are told with their share.
// Matchers that Sluice does not produce are named in [Answer.Unsupported] rather
// than skipped.
package sim

import (
	"maps"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// Request is a request as it arrives.
type Request struct {
	// Scheme is "http" or "https"; "" means http.
	Scheme string
	// Host is the Host header or :authority, port included.
	Host string
	// Method is upper-case; "" means GET.
	Method string
	// Path is with its query; "" means "/".
	Path string
	// Headers are the others, by lower-case name.
	Headers map[string]string
}

// Answer is what becomes of a request.
type Answer struct {
	// Status is that of a redirect, a direct response or a missing route (404);
	// 0 when the request is forwarded.
	Status uint32
	// Location is where a redirect leads.
	Location string
	// Body is the body of a direct response.
	Body string
	// Clusters are the clusters that may get the request and their weights; the
	// weight of an only cluster is 1.
	Clusters map[string]uint32
	// Hosts are the Host headers that differ from Host, by cluster.
	Hosts map[string]string
	// VirtualHost and Route are the names of what matched.
	VirtualHost, Route string
	// Scope is the key of the scope that answered; see [Scoped].
	Scope string
	// Path and Host are what a destination sees.
	Path, Host string
	// Mirrors are the clusters that get copies, with their share in millionths.
	Mirrors map[string]uint32
	// Fault is what the route injects; nil if nothing.
	Fault *Fault
	// CORS says that the route has a policy for other origins.
	CORS bool
	// StatPrefix groups the statistics of the route.
	StatPrefix string
	// ResponseHeaders are those that the route sets or adds, as written.
	ResponseHeaders map[string]string
	// Unsupported names what of the configuration this package cannot play;
	// the rest of the answer then says nothing.
	Unsupported string
}

// Fault is a delay and an abort with their shares in millionths; a share of 0 is
// none. Status is of HTTP, or of gRPC if GRPC is set.
type Fault struct {
	Delay                  time.Duration
	DelayShare, AbortShare uint32
	Status                 uint32
	GRPC                   bool
}

// Routes returns what Envoy does with r under rc. A dot at the end of the host
// counts, as under a connection manager without strip_trailing_host_dot: a table
// that takes it has domains with the dot, too.
func Routes(rc *routev3.RouteConfiguration, r Request) Answer {
	return answer(rc, r.completed())
}

func answer(rc *routev3.RouteConfiguration, r Request) Answer {
	vh := virtualHost(rc, r.Host)
	if vh == nil {
		return Answer{Status: 404}
	}
	out := hostAnswer(vh, r)
	out.VirtualHost = vh.GetName()
	return out
}

// Scoped returns what Envoy does with r in the scoped layout. scopes holds the
// RouteConfigurations of all tables by scope key, "table/host".
//
// The key of the Host header as sent is tried first. If there is no such scope,
// the fallback looks for the normalised host (lower case, without port and dot
// at the end), then for wildcards from the longest suffix to the shortest, then
// for "*". The Host header itself stays as sent.
func Scoped(table string, scopes map[string]*routev3.RouteConfiguration, r Request) Answer {
	r = r.completed()
	in := func(key string) Answer {
		out := answer(scopes[key], r)
		out.Scope = key
		return out
	}
	key := table + "/" + r.Host
	if scopes[key] != nil {
		return in(key)
	}
	name := normalised(r.Host)
	if key = table + "/" + name; name != r.Host && scopes[key] != nil {
		if out := in(key); out.Route != "" || out.Unsupported != "" {
			return out
		}
	}
	for suffix := range suffixes(name) {
		if key = table + "/*" + suffix; scopes[key] != nil {
			return in(key)
		}
	}
	if key = table + "/*"; scopes[key] != nil {
		return in(key)
	}
	return Answer{Status: 404}
}

// suffixes yields ".b.c" and ".c" for "a.b.c".
func suffixes(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := range len(name) {
			if name[i] == '.' && !yield(name[i:]) {
				return
			}
		}
	}
}

// normalised returns host in lower case without port and dot at the end; the
// brackets of an IPv6 address stay.
func normalised(host string) string {
	name := strings.ToLower(host)
	if end := strings.IndexByte(name, ']'); strings.HasPrefix(name, "[") {
		if end > 0 {
			name = name[:end+1]
		}
	} else if colon := strings.LastIndexByte(name, ':'); colon >= 0 && strings.Trim(name[colon+1:], "0123456789") == "" {
		name = name[:colon]
	}
	return strings.TrimSuffix(name, ".")
}

// completed fills in defaults and the pseudo headers.
func (r Request) completed() Request {
	if r.Scheme == "" {
		r.Scheme = "http"
	}
	if r.Method == "" {
		r.Method = "GET"
	}
	if r.Path == "" {
		r.Path = "/"
	}
	headers := make(map[string]string, len(r.Headers)+5)
	for name, value := range r.Headers {
		headers[strings.ToLower(name)] = value
	}
	headers[":scheme"], headers[":method"] = r.Scheme, r.Method
	headers[":authority"] = r.Host
	if r.Method != "CONNECT" {
		headers[":path"] = r.Path
	}
	r.Headers = headers
	return r
}

// hostAnswer goes through the routes of a virtual host in their order: those of
// its list, or those of the leaf that its matcher leads to.
func hostAnswer(vh *routev3.VirtualHost, r Request) Answer {
	if vh.GetRequireTls() == routev3.VirtualHost_ALL && r.Scheme != "https" {
		return Answer{Status: 301, Location: "https://" + r.Host + r.Path}
	}
	routes := vh.GetRoutes()
	if m := vh.GetMatcher(); m != nil {
		var unsupported string
		if routes, unsupported = leafOf(m, r); unsupported != "" {
			return Answer{Unsupported: "virtual_hosts.matcher: " + unsupported}
		}
	}
	for _, route := range routes {
		ok, unsupported := matches(route.GetMatch(), r)
		if unsupported != "" {
			return Answer{Unsupported: unsupported}
		}
		if ok {
			return routeAnswer(route, r)
		}
	}
	return Answer{Status: 404}
}

// responseHeaders returns what the route itself sets or adds on a response; the
// last of several values of a name.
func responseHeaders(route *routev3.Route) map[string]string {
	var out map[string]string
	for _, h := range route.GetResponseHeadersToAdd() {
		if out == nil {
			out = make(map[string]string)
		}
		out[strings.ToLower(h.GetHeader().GetKey())] = h.GetHeader().GetValue()
	}
	return out
}

// ClusterNames returns the clusters of a, sorted.
func (a Answer) ClusterNames() []string {
	return slices.Sorted(maps.Keys(a.Clusters))
}
