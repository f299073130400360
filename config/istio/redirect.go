package istio

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/model"
)

func (r *reader) redirect(at *path, in *networking.HTTPRedirect) *model.Redirect {
	out := &model.Redirect{
		URI:           in.GetUri(),
		PrefixRewrite: in.GetPrefixRewrite(),
		Authority:     in.GetAuthority(),
		Scheme:        strings.ToLower(in.GetScheme()),
		Port:          in.GetPort(),
		Code:          in.GetRedirectCode(),
	}
	if out.Code == 0 {
		out.Code = 301
	}
	switch p := in.GetRedirectPort().(type) {
	case *networking.HTTPRedirect_Port:
		r.fail(at.field("port"), checkPort(p.Port))
	case *networking.HTTPRedirect_DerivePort:
		out.DerivePort = model.RedirectPortProtocolDefault
		if p.DerivePort == networking.HTTPRedirect_FROM_REQUEST_PORT {
			out.DerivePort = model.RedirectPortRequest
		}
	}
	r.checkRedirect(at, in, out)
	return out
}

func (r *reader) checkRedirect(at *path, in *networking.HTTPRedirect, out *model.Redirect) {
	if out.Scheme == "" && out.Authority == "" && out.URI == "" && out.PrefixRewrite == "" &&
		in.GetRedirectPort() == nil && in.GetRedirectCode() == 0 && r.broken(at) == "" {
		r.fail(at, missing("the redirect changes nothing; add uri, prefixRewrite, authority, scheme or a port"))
	}
	if out.URI != "" && out.PrefixRewrite != "" {
		r.fail(at, invalid("uri and prefixRewrite exclude each other; keep one of them"))
	}
	r.fail(at.field("uri"), checkHeaderText(out.URI))
	r.fail(at.field("prefixRewrite"), checkHeaderText(out.PrefixRewrite))
	if out.Authority != "" {
		r.fail(at.field("authority"), checkAuthority(out.Authority))
	}
	switch out.Scheme {
	case "", "http", "https":
	default:
		r.fail(at.field("scheme"), invalid("%s is no scheme to redirect to; write http or https", quote(in.GetScheme())))
	}
	switch out.Code {
	case 301, 302, 303, 307, 308:
	default:
		r.fail(at.field("redirectCode"), invalid("%d is no code of a redirect; write 301, 302, 303, 307 or 308", out.Code))
	}
}

// rewrite reads how a rule changes the request; nil when it does not.
func (r *reader) rewrite(at *path, rule *networking.HTTPRoute) *model.Rewrite {
	in := rule.GetRewrite()
	if in == nil {
		return nil
	}
	regex := in.GetUriRegexRewrite()
	out := &model.Rewrite{
		URI:          in.GetUri(),
		Authority:    in.GetAuthority(),
		Regex:        regex.GetMatch(),
		Substitution: regex.GetRewrite(),
	}
	switch {
	case rule.GetRedirect() != nil || rule.GetDirectResponse() != nil:
		r.fail(at, invalid("rewrite works only with route; remove it"))
	case out.URI != "" && regex != nil:
		r.fail(at, invalid("uri and uriRegexRewrite exclude each other; keep one of them"))
	case out.URI == "" && out.Authority == "" && regex == nil && r.broken(at) == "":
		r.fail(at, missing("the rewrite changes nothing; add uri, authority or uriRegexRewrite"))
	}
	if uri := at.field("uri"); out.URI != "" && !r.fail(uri, checkHeaderText(out.URI)) && out.URI[0] != '/' {
		r.fail(uri, invalid("%s does not start with a slash and makes no path; add the slash", quote(out.URI)))
	}
	if out.Authority != "" {
		r.fail(at.field("authority"), checkAuthority(out.Authority))
	}
	if regex != nil {
		r.checkRegexRewrite(at.field("uriRegexRewrite"), regex)
	}
	return out
}

func (r *reader) checkRegexRewrite(at *path, in *networking.RegexRewrite) {
	if r.broken(at) != "" {
		return
	}
	if in.GetMatch() == "" {
		r.fail(at.field("match"), missing("match is missing; write the expression to look for in the path"))
		return
	}
	tree, wrong := parseRegex(in.GetMatch())
	if r.fail(at.field("match"), wrong) {
		return
	}
	r.fail(at.field("rewrite"), checkSubstitution(in.GetRewrite(), tree.MaxCap()))
}
