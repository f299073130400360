// Package routing turns the rules of one host into one Envoy virtual host.
//
// What goes in: a [HostInput], the route sets that reach one host of one route
// table, oldest first, and what became of every destination they name. What
// comes out: a virtual host that Envoy accepts, and the problems for the
// authors of the rules. It alone decides in which order the routes of a host
// are tried.
//
// Nothing here reads a clock, a socket or a store; same input, same bytes. A
// rule that cannot be served becomes a direct response with
// [model.HeaderReason]; its neighbours stay as they are.
package routing

import (
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

// HostInput is what one virtual host is made of.
type HostInput struct {
	// Table is the name of the route table: "http.80".
	Table string
	// Port is the number of the server's port, as clients and match.port name it.
	Port uint32
	// Host is the one domain, lower-case: "a.example.com", "*.example.com" or "*".
	Host string
	// Bindings are the route sets that reach the host, oldest first.
	Bindings []Binding
	// HTTPSRedirect answers every plain-text request with 301 to https.
	HTTPSRedirect bool
	// Targets holds every destination that the bindings name, those of mirrors
	// included, exactly as in the rule. A destination that is not in it counts as
	// missing.
	Targets map[model.Destination]model.Target
	// Proxy is who routes; a match may name it.
	Proxy Proxy
	// RequestBodyBufferBytes is how much of a body is kept to send it again; 0
	// keeps what the connection may hold.
	RequestBodyBufferBytes uint32
}

// Proxy is what sourceLabels and sourceNamespace of a match are compared with:
// on a gateway, the source of a request is the gateway itself. A match with
// either is for no proxy of which nothing is known.
type Proxy struct {
	Labels    map[string]string
	Namespace string
}

// Binding is a route set and the gateways through which it reaches the host.
type Binding struct {
	Set      *model.RouteSet
	Gateways []model.GatewayRef
}

// VirtualHost returns the virtual host of in, named "host:port", and the
// problems of its rules, sorted and without duplicates; those of a rule from
// another set go to its owner. The routes are a list, see [Tree]. Rules that
// delegate are replaced before, by package delegate. A host without a rule for
// this port gets a virtual host without routes, which answers 404.
//
// A weighted rule of which only some destinations are missing keeps its split:
// the missing share goes to the name that the cluster would have, and Envoy
// answers 503 for it. The RouteConfiguration around the virtual host therefore
// leaves validate_clusters false, and sets max_direct_response_body_size_bytes
// by [MaxDirectBody].
func VirtualHost(in HostInput) (*routev3.VirtualHost, []model.Problem) {
	var (
		entries  []entry
		problems []model.Problem
	)
	for _, b := range in.Bindings {
		es, ps := setEntries(&in, b)
		entries = append(entries, es...)
		problems = append(problems, ps...)
	}
	routes, ps := order(in.Host, entries)
	problems = append(problems, ps...)

	vh := &routev3.VirtualHost{
		Name:        strings.ToLower(in.Host) + ":" + strconv.FormatUint(uint64(in.Port), 10),
		Domains:     []string{in.Host},
		Routes:      routes,
		RetryPolicy: defaultRetryPolicy(),
	}
	if in.RequestBodyBufferBytes > 0 {
		vh.RequestBodyBufferLimit = wrapperspb.UInt64(uint64(in.RequestBodyBufferBytes))
	}
	if in.HTTPSRedirect {
		vh.RequireTls = routev3.VirtualHost_ALL
	}
	slices.SortFunc(problems, model.Problem.Compare)
	return vh, slices.Compact(problems)
}

// MaxDirectBody returns the size in bytes of the largest body among the direct
// responses of vh, 0 if there is none. Envoy refuses more than 4096 unless
// RouteConfiguration.max_direct_response_body_size_bytes allows it.
func MaxDirectBody(vh *routev3.VirtualHost) uint32 {
	largest := 0
	for _, r := range vh.GetRoutes() {
		body := r.GetDirectResponse().GetBody()
		largest = max(largest, len(body.GetInlineString()), len(body.GetInlineBytes()))
	}
	return uint32(largest)
}
