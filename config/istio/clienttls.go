package istio

import (
	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// This file reads what a server wants of its clients: their certificates,
// versions and cipher suites.

// noClients reports what a server of mode SIMPLE says of client certificates: it
// asks for none, as in Istio.
func (r serverTLS) noClients(at *strict.Path, in *networking.ServerTLSSettings) {
	unused := map[*strict.Path]bool{
		at.Field("caCertificates"):        in.GetCaCertificates() != "",
		at.Field("caCertCredentialName"):  in.GetCaCertCredentialName() != "",
		at.Field("subjectAltNames"):       len(in.GetSubjectAltNames()) > 0,
		at.Field("verifyCertificateSpki"): len(in.GetVerifyCertificateSpki()) > 0,
		at.Field("verifyCertificateHash"): len(in.GetVerifyCertificateHash()) > 0,
		at.Field("insecureSkipVerify"):    in.GetInsecureSkipVerify().GetValue(),
	}
	for i, files := range in.GetTlsCertificates() {
		unused[at.Field("tlsCertificates").Element(i).Field("caCertificates")] = files.GetCaCertificates() != ""
	}
	for field, given := range unused {
		if given {
			r.Note(field, strict.Invalid("mode SIMPLE asks for no client certificate and the field has no effect; write MUTUAL or OPTIONAL_MUTUAL, or remove it"))
		}
	}
	if in.GetCaCrl() != "" {
		r.Fail(at.Field("caCrl"), strict.Invalid("mode SIMPLE asks for no client certificate that could be revoked; write MUTUAL or OPTIONAL_MUTUAL, or remove caCrl"))
	}
}

// clients reads which certificates of clients are welcome.
func (r serverTLS) clients(at *strict.Path, in *networking.ServerTLSSettings, out *model.ServerTLS) {
	out.SubjectAltNames = r.Names(at.Field("subjectAltNames"), in.GetSubjectAltNames(), check.SubjectAltName)
	out.SPKI = r.Names(at.Field("verifyCertificateSpki"), in.GetVerifyCertificateSpki(), check.KeyDigest)
	out.Hashes = r.Names(at.Field("verifyCertificateHash"), in.GetVerifyCertificateHash(), check.CertificateDigest)
	out.InsecureSkipVerify = in.GetInsecureSkipVerify().GetValue()
	if out.InsecureSkipVerify {
		r.Warn(at.Field("insecureSkipVerify"), strict.Invalid("clients are let in whoever signed their certificate; remove it unless the destination verifies them"))
		if len(out.SubjectAltNames) > 0 {
			r.Warn(at.Field("subjectAltNames"), strict.Invalid("insecureSkipVerify takes a certificate that anybody may have signed, so its names are not looked at; remove one of the two"))
		}
	}
}

// versions reads the bounds of the version.
func (r serverTLS) versions(at *strict.Path, in *networking.ServerTLSSettings, out *model.ServerTLS) {
	out.MinVersion = tlsVersion(in.GetMinProtocolVersion())
	out.MaxVersion = tlsVersion(in.GetMaxProtocolVersion())
	// Versions compare as they are written.
	least := out.MinVersion
	if least == "" {
		least = model.TLS12
	}
	switch {
	case out.MaxVersion == "" || least <= out.MaxVersion:
	case out.MinVersion == "":
		r.Fail(at.Field("maxProtocolVersion"), strict.Invalid("TLS %s is older than 1.2, the oldest without minProtocolVersion; add that, or allow newer ones", out.MaxVersion))
	default:
		r.Fail(at.Field("maxProtocolVersion"), strict.Invalid("the newest version, %s, is older than the oldest, %s; swap minProtocolVersion and maxProtocolVersion", out.MaxVersion, out.MinVersion))
	}
	if least < model.TLS12 {
		r.Warn(at.Field("minProtocolVersion"), strict.Invalid("TLS %s is no longer safe, and works only with older cipherSuites; write TLSV1_2", out.MinVersion))
	}
}

func tlsVersion(v networking.ServerTLSSettings_TLSProtocol) model.TLSVersion {
	switch v {
	case networking.ServerTLSSettings_TLSV1_0:
		return model.TLS10
	case networking.ServerTLSSettings_TLSV1_1:
		return model.TLS11
	case networking.ServerTLSSettings_TLSV1_2:
		return model.TLS12
	case networking.ServerTLSSettings_TLSV1_3:
		return model.TLS13
	}
	return ""
}

// cipherSuites reads which suites are used up to TLS 1.2. Like Istio it drops
// those that do not exist; with none left the server would serve what it forbids.
func (r serverTLS) cipherSuites(at *strict.Path, names []string, out *model.ServerTLS) {
	known := map[string]bool{}
	older := false
	for i, name := range names {
		switch {
		case known[name]:
			r.Warn(at.Element(i), strict.Invalid("%s is listed twice; remove one of them", strict.Quote(name)))
		case !check.IsCipherSuite(name):
			r.Warn(at.Element(i), strict.Invalid("%s is no cipher suite for TLS up to 1.2 and is ignored; remove it", strict.Quote(name)))
		default:
			known[name] = true
			older = older || check.IsOlderCipherSuite(name)
			out.CipherSuites = append(out.CipherSuites, name)
		}
	}
	switch {
	case len(names) == 0 && (out.MaxVersion == "" || out.MaxVersion >= model.TLS12):
	case !older && out.MaxVersion != "" && out.MaxVersion < model.TLS12:
		r.Fail(at, strict.Invalid(`TLS up to %s needs one of the older cipher suites; add one like "ECDHE-RSA-AES128-SHA"`, out.MaxVersion))
	case len(known) == 0:
		r.Note(at, strict.Invalid(`no cipher suite is left and those of the default are offered; write names like "ECDHE-RSA-AES128-GCM-SHA256"`))
	case out.MinVersion == model.TLS13:
		r.Warn(at, strict.Invalid("TLS 1.3 brings its own cipher suites and the list has no effect; remove it"))
	}
}
