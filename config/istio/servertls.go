package istio

import (
	"cmp"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/annotation"
	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// automaticCredential is the credentialName of a server whose certificates come
// from an ACME authority. A Secret of that name is "kubernetes://acme".
const automaticCredential = "acme"

// serverTLS reads the tls block of a server whose protocol is over TLS. With any
// fault in the block the server is left out: it is never served with weaker
// settings than were meant.
type serverTLS struct {
	reader
	options  serverOptions
	protocol model.Protocol
}

// read returns how TLS ends at the server; nil when it is passed through, or
// after a fault.
func (r serverTLS) read(at *strict.Path, in *networking.ServerTLSSettings) *model.ServerTLS {
	if r.Any(at) {
		return nil
	}
	if in == nil {
		r.Fail(at, strict.Missing("tls is missing and the server is left out; add it with mode SIMPLE and a credentialName, or with mode PASSTHROUGH"))
		return nil
	}
	out := &model.ServerTLS{}
	mode := at.Field("mode")
	switch in.GetMode() {
	case networking.ServerTLSSettings_PASSTHROUGH:
		r.withoutEffect(at, in, "mode PASSTHROUGH, which is the default, ends no TLS and the field has no effect; remove it, or write mode SIMPLE")
		return nil
	case networking.ServerTLSSettings_SIMPLE:
		out.Mode = model.ServerTLSSimple
	case networking.ServerTLSSettings_MUTUAL:
		out.Mode = model.ServerTLSMutual
	case networking.ServerTLSSettings_OPTIONAL_MUTUAL:
		out.Mode = model.ServerTLSOptionalMutual
	default:
		r.Fail(mode, strict.Waiting("mode %s needs the certificates of a mesh, which does not exist yet, and the server is left out until then", in.GetMode()))
		return nil
	}
	r.certificates(at, in, out)
	if out.Mode == model.ServerTLSSimple {
		r.noClients(at, in)
	} else {
		r.authorities(at, in, out)
		r.clients(at, in, out)
	}
	r.versions(at, in, out)
	r.cipherSuites(at.Field("cipherSuites"), in.GetCipherSuites(), out)
	if in.GetHttpsRedirect() {
		r.Warn(at.Field("httpsRedirect"), strict.Invalid("the server speaks TLS already and there is nothing to redirect; write httpsRedirect at the plain HTTP server"))
	}
	if r.Any(at) {
		return nil
	}
	r.extensions(at, out)
	return out
}

// certificates reads what the server shows to clients: of the four ways to say
// it one, or none for automatic certificates.
func (r serverTLS) certificates(at *strict.Path, in *networking.ServerTLSSettings, out *model.ServerTLS) {
	ways := 0
	pair := in.GetServerCertificate()+in.GetPrivateKey() != ""
	for _, given := range []bool{in.GetCredentialName() != "", len(in.GetCredentialNames()) > 0, len(in.GetTlsCertificates()) > 0, pair} {
		if given {
			ways++
		}
	}
	switch {
	case ways == 2 && pair && in.GetCredentialName() != "": // as in Istio
		r.withoutEffect(at, &networking.ServerTLSSettings{ServerCertificate: in.GetServerCertificate(), PrivateKey: in.GetPrivateKey()},
			"credentialName says which certificate is shown and the field has no effect; remove one of them")
		r.credentialName(at.Field("credentialName"), in.GetCredentialName(), out)
	case ways > 1:
		r.Fail(at, strict.Invalid("credentialName, credentialNames, tlsCertificates, and serverCertificate with privateKey exclude each other; keep one of them"))
	case ways == 0 && r.options.issuance != "":
		out.Automation = model.AutomationAsked
	case ways == 0:
		out.Automation = model.AutomationImplied
	case pair:
		r.certificateFiles(at, &networking.ServerTLSSettings_TLSCertificate{
			ServerCertificate: in.GetServerCertificate(), PrivateKey: in.GetPrivateKey(),
		}, out)
	case in.GetCredentialName() != "":
		r.credentialName(at.Field("credentialName"), in.GetCredentialName(), out)
	case len(in.GetCredentialNames()) > 0:
		list := at.Field("credentialNames")
		r.Fail(list, atMostTwo(len(in.GetCredentialNames())))
		for i, name := range in.GetCredentialNames() {
			r.certificateSecret(list.Element(i), name, out)
		}
	default:
		list := at.Field("tlsCertificates")
		r.Fail(list, atMostTwo(len(in.GetTlsCertificates())))
		for i, files := range in.GetTlsCertificates() {
			r.certificateFiles(list.Element(i), files, out)
		}
	}
}

// credentialName adds the certificate of a Secret, or asks for automatic ones.
func (r serverTLS) credentialName(at *strict.Path, written string, out *model.ServerTLS) {
	if written == automaticCredential {
		out.Automation = model.AutomationAsked
		return
	}
	r.certificateSecret(at, written, out)
}

// atMostTwo checks the number of certificates of a server.
func atMostTwo(n int) *strict.Finding {
	if n > 2 {
		return strict.Invalid("%d certificates are given; keep at most two, one RSA and one ECDSA", n)
	}
	return nil
}

// certificateSecret adds the certificate of a Secret.
func (r serverTLS) certificateSecret(at *strict.Path, written string, out *model.ServerTLS) {
	name, wrong := check.Credential(written, r.Meta.Ref.Namespace)
	if written == automaticCredential {
		wrong = strict.Invalid(`"acme" asks for automatic certificates and goes with no other; write credentialName: acme, or "kubernetes://acme" for a Secret of that name`)
	}
	if !r.Fail(at, wrong) {
		r.addCertificate(at, model.Credential{Namespace: r.Meta.Ref.Namespace, Name: name}, out)
	}
}

// certificateFiles adds the certificate of a pair of files.
func (r serverTLS) certificateFiles(at *strict.Path, in *networking.ServerTLSSettings_TLSCertificate, out *model.ServerTLS) {
	certificate, key := at.Field("serverCertificate"), at.Field("privateKey")
	if in.GetServerCertificate() == "" {
		r.Fail(certificate, strict.Missing("the key has no certificate; add the path of its file"))
	}
	if in.GetPrivateKey() == "" {
		r.Fail(key, strict.Missing("the certificate has no private key; add the path of its file"))
	}
	r.Fail(certificate, filePath(in.GetServerCertificate()))
	r.Fail(key, filePath(in.GetPrivateKey()))
	r.addCertificate(certificate, model.Credential{CertificateFile: in.GetServerCertificate(), KeyFile: in.GetPrivateKey()}, out)
}

func (r serverTLS) addCertificate(at *strict.Path, c model.Credential, out *model.ServerTLS) {
	for _, known := range out.Certificates {
		if c == known {
			r.Warn(at, strict.Invalid("the certificate is listed twice; remove one of them"))
			return
		}
	}
	out.Certificates = append(out.Certificates, c)
	out.CertificateFields = append(out.CertificateFields, at.String())
}

// filePath checks the path of a file of this machine; "" passes.
func filePath(path string) *strict.Finding {
	const longest = 4096 // Linux takes no longer path
	if len(path) > longest || check.HeaderText(path) != nil {
		return strict.Invalid("%s is no path of a file; write one without control characters", strict.Quote(path))
	}
	return nil
}

// authorities reads who signs the certificates of clients: a Secret or a file,
// or the Secret beside the first certificate, or that itself.
func (r serverTLS) authorities(at *strict.Path, in *networking.ServerTLSSettings, out *model.ServerTLS) {
	file, fileAt := r.authorityFile(at, in)
	secret, secretAt := in.GetCaCertCredentialName(), at.Field("caCertCredentialName")
	var first model.Credential
	if len(out.Certificates) > 0 {
		first = out.Certificates[0]
	}
	crl := at.Field("caCrl")
	r.Fail(crl, filePath(in.GetCaCrl()))
	if file != "" && secret == "" && first.Name != "" { // as in Istio
		r.Note(fileAt, strict.Invalid("the authorities of clients are those of the Secret or of %s and the file has no effect; remove it", strict.Quote(first.Name+"-cacert")))
	}
	if in.GetCaCrl() != "" && (file == "" || first.Name != "") {
		r.Fail(crl, strict.Invalid("a list of revoked certificates goes with caCertificates only; put it into the Secret as ca.crl, or add caCertificates"))
	}
	switch {
	case file != "" && secret != "":
		r.Fail(at, strict.Invalid("caCertCredentialName and caCertificates exclude each other; keep one of them"))
	case file != "" && first.Name == "":
		r.Fail(fileAt, filePath(file))
		out.Authorities = []model.Credential{{AuthorityFile: file, CRLFile: in.GetCaCrl()}}
		out.AuthoritiesField = fileAt.String()
	case secret != "":
		name, wrong := check.Credential(secret, r.Meta.Ref.Namespace)
		r.Fail(secretAt, wrong)
		out.Authorities = []model.Credential{{Namespace: r.Meta.Ref.Namespace, Name: name}}
		out.AuthoritiesField = secretAt.String()
	case first.Name != "":
		beside := first
		beside.Name += "-cacert"
		out.Authorities = []model.Credential{beside, first}
		out.AuthoritiesField = out.CertificateFields[0]
	case !r.Any(at):
		r.Fail(at, strict.Missing("mode %s needs the authorities that sign the certificates of clients; add caCertificates or caCertCredentialName", in.GetMode()))
	}
}

// authorityFile returns the file of authorities and where it is named, at the
// block itself or at its first certificate.
func (r serverTLS) authorityFile(at *strict.Path, in *networking.ServerTLSSettings) (string, *strict.Path) {
	field := at.Field("caCertificates")
	file := in.GetCaCertificates()
	for i, files := range in.GetTlsCertificates() {
		own, ownAt := files.GetCaCertificates(), at.Field("tlsCertificates").Element(i).Field("caCertificates")
		switch {
		case own == "" || own == file:
		case file != "" || i > 0:
			r.Fail(ownAt, strict.Invalid("the authorities of clients are those of caCertificates, or else of the first certificate; remove this one"))
		default:
			file, field = own, ownAt
		}
	}
	return file, field
}

// extensions sets what the annotations of the gateway say.
func (r serverTLS) extensions(at *strict.Path, out *model.ServerTLS) {
	out.Layout = r.options.layout
	defer r.issuance(at, out)
	if !r.options.http3 || r.protocol != model.ProtocolHTTPS {
		return
	}
	switch newest := cmp.Or(out.MaxVersion, model.TLS13); {
	case out.Mode != model.ServerTLSSimple:
		r.Warn(at.Field("mode"), strict.Invalid("mode %s asks for client certificates, which HTTP/3 does not know here; the server is served over TCP only", out.Mode))
	case newest != model.TLS13:
		r.Warn(at.Field("maxProtocolVersion"), strict.Invalid("HTTP/3 needs TLS 1.3 and the server is served over TCP only; remove maxProtocolVersion"))
	default:
		out.HTTP3 = true
	}
}

// issuance has certificates ordered on demand, if the annotations of the gateway
// say so and the server can do it.
func (r serverTLS) issuance(at *strict.Path, out *model.ServerTLS) {
	if r.options.issuance != annotation.IssuanceOnDemand || out.Automation == model.AutomationNone {
		return
	}
	var hindrance string
	switch {
	case out.Mode != model.ServerTLSSimple:
		hindrance = "the server asks for certificates of clients"
	case r.protocol != model.ProtocolHTTPS:
		hindrance = "the server does not take HTTPS"
	case out.HTTP3:
		hindrance = "the server is served over HTTP/3"
	case out.Demands() != "":
		hindrance = "the server has versions or cipher suites of its own"
	case out.Layout == model.ChainLayoutChains:
		hindrance = "the gateway asks for a chain for each host"
	}
	if hindrance != "" {
		r.Warn(at, strict.Invalid("%s, so certificates for names below its wildcards cannot be ordered on demand; remove that, or write %s: %s", hindrance, annotation.TLS, annotation.IssuanceAuto))
		return
	}
	out.IssueOnDemand, out.Allowed, out.Layout = true, r.options.allowed, model.ChainLayoutOnDemand
}
