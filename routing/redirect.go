package routing

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/sluicegw/sluice/model"
)

// The default ports of the two schemes.
const (
	portHTTP  = 80
	portHTTPS = 443
)

// redirectRoute answers with a Location. A path that is not replaced is kept,
// and so is the query.
func redirectRoute(in *HostInput, r *model.Redirect) *routev3.Route {
	out := &routev3.RedirectAction{
		HostRedirect: r.Authority,
		ResponseCode: redirectCode(r.Code),
	}
	switch {
	case r.PrefixRewrite != "":
		out.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: r.PrefixRewrite}
	case r.URI != "":
		out.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: r.URI}
	}
	if r.Scheme != "" {
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: r.Scheme}
	}
	redirectPort(in, r, out)
	return &routev3.Route{Action: &routev3.Route_Redirect{Redirect: out}}
}

// redirectPort sets the port of the Location. Left alone, Envoy keeps the port
// that the client wrote into Host; what has to be said is therefore also that
// there should be none. A default port is not written where that can be had:
//
//   - on an exact host by naming the host,
//   - on a wildcard whose listener has a default port by saying nothing, since
//     clients then send no port either.
//
// On other wildcards it is written out, which means the same. A wildcard
// redirect that asks for the protocol's default without naming a scheme keeps
// the client's host and port: which scheme the client used is not known here.
//
// Source: Istio elides :80 of http and :443 of https.
func redirectPort(in *HostInput, r *model.Redirect, out *routev3.RedirectAction) {
	scheme := r.Scheme
	if scheme == "" {
		scheme = "http"
	}
	var port uint32
	switch r.DerivePort {
	case model.RedirectPortProtocolDefault:
		if port = defaultPort(scheme); r.Scheme == "" && isWildcard(in.Host) {
			port = 0
		}
	case model.RedirectPortRequest:
		port = in.Port
	default:
		port = r.Port
	}
	switch {
	case port == 0:
	case port != defaultPort(scheme):
		out.PortRedirect = port
	case r.Authority != "":
	case !isWildcard(in.Host):
		out.HostRedirect = in.Host
	case in.Port != portHTTP && in.Port != portHTTPS:
		out.PortRedirect = port
	}
}

func defaultPort(scheme string) uint32 {
	switch scheme {
	case "http":
		return portHTTP
	case "https":
		return portHTTPS
	}
	return 0
}

func isWildcard(host string) bool { return strings.HasPrefix(host, "*") }

// redirectCode returns Envoy's word for a status; any other than the five
// allowed ones is 301.
func redirectCode(status uint32) routev3.RedirectAction_RedirectResponseCode {
	switch status {
	case 302:
		return routev3.RedirectAction_FOUND
	case 303:
		return routev3.RedirectAction_SEE_OTHER
	case 307:
		return routev3.RedirectAction_TEMPORARY_REDIRECT
	case 308:
		return routev3.RedirectAction_PERMANENT_REDIRECT
	}
	return routev3.RedirectAction_MOVED_PERMANENTLY
}
