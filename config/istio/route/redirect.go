package route

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

func (r reader) redirect(at *strict.Path, in *networking.HTTPRedirect) *model.Redirect {
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
		r.Fail(at.Field("port"), check.Port(p.Port))
	case *networking.HTTPRedirect_DerivePort:
		out.DerivePort = model.RedirectPortProtocolDefault
		if p.DerivePort == networking.HTTPRedirect_FROM_REQUEST_PORT {
			out.DerivePort = model.RedirectPortRequest
		}
	}
	r.checkRedirect(at, in, out)
	return out
}

func (r reader) checkRedirect(at *strict.Path, in *networking.HTTPRedirect, out *model.Redirect) {
	if out.Scheme == "" && out.Authority == "" && out.URI == "" && out.PrefixRewrite == "" &&
		in.GetRedirectPort() == nil && in.GetRedirectCode() == 0 && r.Broken(at) == "" {
		r.Fail(at, strict.Missing("the redirect changes nothing; add uri, prefixRewrite, authority, scheme or a port"))
	}
	if out.URI != "" && out.PrefixRewrite != "" {
		r.Fail(at, strict.Invalid("uri and prefixRewrite exclude each other; keep one of them"))
	}
	r.Fail(at.Field("uri"), check.Path(out.URI))
	r.Fail(at.Field("prefixRewrite"), check.Path(out.PrefixRewrite))
	if out.Authority != "" {
		r.Fail(at.Field("authority"), check.Authority(out.Authority))
	}
	switch out.Scheme {
	case "", "http", "https":
	default:
		r.Fail(at.Field("scheme"), strict.Invalid("%s is no scheme to redirect to; write http or https", strict.Quote(in.GetScheme())))
	}
	switch out.Code {
	case 301, 302, 303, 307, 308:
	default:
		r.Fail(at.Field("redirectCode"), strict.Invalid("%d is no code of a redirect; write 301, 302, 303, 307 or 308", out.Code))
	}
}

// rewrite reads how a rule changes the request; nil when it does not.
func (r reader) rewrite(at *strict.Path, rule *networking.HTTPRoute) *model.Rewrite {
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
		r.Fail(at, strict.Invalid("rewrite works only with route; remove it"))
	case out.URI != "" && regex != nil:
		r.Fail(at, strict.Invalid("uri and uriRegexRewrite exclude each other; keep one of them"))
	case out.URI == "" && out.Authority == "" && regex == nil && r.Broken(at) == "":
		r.Fail(at, strict.Missing("the rewrite changes nothing; add uri, authority or uriRegexRewrite"))
	}
	if uri := at.Field("uri"); out.URI != "" && !r.Fail(uri, check.Path(out.URI)) && out.URI[0] != '/' {
		r.Fail(uri, strict.Invalid("%s does not start with a slash and makes no path; add the slash", strict.Quote(out.URI)))
	}
	if out.Authority != "" {
		r.Fail(at.Field("authority"), check.Authority(out.Authority))
	}
	if regex != nil {
		r.checkRegexRewrite(at.Field("uriRegexRewrite"), regex)
	}
	return out
}

func (r reader) checkRegexRewrite(at *strict.Path, in *networking.RegexRewrite) {
	if r.Broken(at) != "" {
		return
	}
	if in.GetMatch() == "" {
		r.Fail(at.Field("match"), strict.Missing("match is missing; write the expression to look for in the path"))
		return
	}
	tree, wrong := check.ParseRegex(in.GetMatch())
	if r.Fail(at.Field("match"), wrong) {
		return
	}
	rewrite := at.Field("rewrite")
	if !r.Fail(rewrite, check.Path(in.GetRewrite())) {
		r.Fail(rewrite, check.Substitution(in.GetRewrite(), tree.MaxCap()))
	}
}
