package destination

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// tls reads how a destination is spoken to; nil when not given. With any fault
// the answer is mode MUTUAL without a certificate, which cannot be served: the
// destination is then not spoken to at all.
func (r reader) tls(at *strict.Path, in *networking.ClientTLSSettings) *model.UpstreamTLS {
	closed := &model.UpstreamTLS{Field: at.String(), Mode: model.TLSMutual}
	if in == nil {
		if r.Any(at) { // its name was misspelled
			return closed
		}
		return nil
	}
	out := &model.UpstreamTLS{
		Field:              at.String(),
		CertificateFile:    in.GetClientCertificate(),
		KeyFile:            in.GetPrivateKey(),
		CAFile:             in.GetCaCertificates(),
		CRLFile:            in.GetCaCrl(),
		Credential:         in.GetCredentialName(),
		InsecureSkipVerify: in.GetInsecureSkipVerify().GetValue(),
	}
	switch in.GetMode() {
	case networking.ClientTLSSettings_DISABLE:
		out.Mode = model.TLSDisable
	case networking.ClientTLSSettings_SIMPLE:
		out.Mode = model.TLSSimple
	case networking.ClientTLSSettings_MUTUAL:
		out.Mode = model.TLSMutual
	default:
		r.Fail(at.Field("mode"), strict.Waiting("mode ISTIO_MUTUAL needs certificates of the mesh, which does not exist yet; the destination answers 503 until then, plain text is not used"))
	}
	if sni := at.Field("sni"); in.GetSni() != "" && !r.At(sni) {
		var wrong *strict.Finding
		out.SNI, wrong = check.ParseName(in.GetSni(), check.Form{})
		r.Fail(sni, wrong)
	}
	out.SubjectAltNames = r.Names(at.Field("subjectAltNames"), in.GetSubjectAltNames(), check.SubjectAltName)
	if !r.Any(at) {
		r.checkTLS(at, out)
	}
	if r.Any(at) {
		return closed
	}
	return out
}

// checkTLS checks that the fields go together.
func (r reader) checkTLS(at *strict.Path, t *model.UpstreamTLS) {
	if t.Mode == model.TLSSimple {
		r.showNothing(at, t)
	}
	pair := t.CertificateFile != "" && t.KeyFile != ""
	files := t.CertificateFile + t.KeyFile + t.CAFile + t.CRLFile
	for name, file := range map[string]string{
		"clientCertificate": t.CertificateFile, "privateKey": t.KeyFile, "caCertificates": t.CAFile, "caCrl": t.CRLFile,
	} {
		r.Fail(at.Field(name), check.HeaderText(file))
	}
	if t.Credential != "" && check.DNS(strings.ToLower(t.Credential)) != nil {
		r.Fail(at.Field("credentialName"), strict.Invalid("%s is no name of a Secret of this namespace; correct it", strict.Quote(t.Credential)))
	}
	switch {
	case t.Mode == model.TLSDisable:
		if files+t.Credential+t.SNI != "" || len(t.SubjectAltNames) > 0 || t.InsecureSkipVerify {
			r.Warn(at, strict.Invalid("mode DISABLE speaks plain text and the other fields do not count; write SIMPLE or MUTUAL, or remove them"))
		}
	case t.Credential != "" && files != "":
		r.Fail(at, strict.Invalid("credentialName excludes clientCertificate, privateKey, caCertificates and caCrl; keep one kind of them"))
	case t.Mode == model.TLSMutual && !pair && t.Credential == "":
		r.Fail(at, strict.Missing("mode MUTUAL needs a certificate; add clientCertificate and privateKey, or credentialName"))
	case t.CRLFile != "" && t.CAFile == "":
		r.Fail(at.Field("caCrl"), strict.Invalid("a list of revoked certificates counts only with caCertificates; add them"))
	case t.InsecureSkipVerify && (t.CAFile != "" || len(t.SubjectAltNames) > 0):
		r.Fail(at.Field("insecureSkipVerify"), strict.Invalid("it verifies nothing, although caCertificates or subjectAltNames say what to verify; remove it, or remove them"))
	case t.InsecureSkipVerify:
		r.Warn(at.Field("insecureSkipVerify"), strict.Invalid("the destination is not verified and anybody on the way can read along; remove it"))
	}
}

// showNothing leaves out the certificate of a mode that shows none, as Istio
// does: the server is verified all the same, and refuses who has to show one.
func (r reader) showNothing(at *strict.Path, t *model.UpstreamTLS) {
	for name, file := range map[string]*string{"clientCertificate": &t.CertificateFile, "privateKey": &t.KeyFile} {
		if *file != "" {
			r.Note(at.Field(name), strict.Invalid("mode SIMPLE shows no certificate and the field has no effect; write MUTUAL, or remove it"))
			*file = ""
		}
	}
}
