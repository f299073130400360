package model

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ServerTLSMode is what a server does with TLS that ends at it, in the words of
// Istio's ServerTLSSettings.TLSmode.
type ServerTLSMode string

// The modes of TLS that ends at the gateway.
const (
	ServerTLSSimple         ServerTLSMode = "SIMPLE"          // no client certificate is asked for
	ServerTLSMutual         ServerTLSMode = "MUTUAL"          // a client must show a valid certificate
	ServerTLSOptionalMutual ServerTLSMode = "OPTIONAL_MUTUAL" // a client may; a bad one is refused
)

// TLSVersion is a version of TLS: "1.0" to "1.3"; "" leaves it to Sluice.
type TLSVersion string

// The versions of TLS.
const (
	TLS10 TLSVersion = "1.0"
	TLS11 TLSVersion = "1.1"
	TLS12 TLSVersion = "1.2"
	TLS13 TLSVersion = "1.3"
)

// Automation says whether the certificates of a server come from an ACME
// authority.
type Automation string

// The ways to automatic certificates.
const (
	AutomationNone    Automation = ""        // the server names its certificates
	AutomationAsked   Automation = "asked"   // it says so
	AutomationImplied Automation = "implied" // it names none, which is a fault without --acme-email
)

// ServerTLS is how a server ends TLS.
type ServerTLS struct {
	Mode ServerTLSMode
	// Certificates are shown to clients, in the order of the object: one, or two
	// of which one is RSA and one ECDSA. Empty if Automation is set.
	Certificates []Credential
	// CertificateFields are the paths of Certificates in the object, one each:
	// "spec.servers[0].tls.credentialName".
	CertificateFields []string
	Automation        Automation
	// Authorities sign the certificates of clients: of the candidates the first
	// that exists counts. Empty in mode SIMPLE.
	Authorities []Credential
	// AuthoritiesField is their path in the object.
	AuthoritiesField string
	// SubjectAltNames, if any, are the names of which a client's certificate must
	// have one, exactly.
	SubjectAltNames []string
	// SPKI are base64 SHA-256 digests of public keys, Hashes are lower-case hex
	// SHA-256 digests of certificates; if there are any of either, a client's must
	// be among them.
	SPKI   []string
	Hashes []string
	// MinVersion and MaxVersion bound the version.
	MinVersion, MaxVersion TLSVersion
	// CipherSuites are OpenSSL names for TLS up to 1.2; empty leaves them to
	// Sluice.
	CipherSuites []string
	// InsecureSkipVerify takes any client certificate.
	InsecureSkipVerify bool
	// HTTP3 also serves QUIC on the UDP port of the same number.
	HTTP3 bool
	// Layout is how many hosts share a filter chain.
	Layout ChainLayout
	// IssueOnDemand has a certificate ordered for a name below a wildcard of the
	// server when a client first asks for the name. Layout is on-demand then.
	IssueOnDemand bool
	// Allowed bounds the names of IssueOnDemand: hosts, of which one has to cover
	// the name; empty allows all that a wildcard other than "*" covers.
	Allowed []string
}

// ChainLayout is how the TLS hosts of a port are spread over filter chains.
type ChainLayout string

// The layouts.
const (
	ChainLayoutAuto     ChainLayout = ""          // a chain for each host, up to a limit
	ChainLayoutChains   ChainLayout = "chains"    // a chain for each host
	ChainLayoutOnDemand ChainLayout = "on-demand" // one chain that fetches certificates by name
)

// IssuesBelow reports whether a host of the server is a wildcard below which
// certificates are ordered when clients ask for names.
func (t *ServerTLS) IssuesBelow(host string) bool {
	return t.IssueOnDemand && strings.HasPrefix(host, "*")
}

// Demands says what a client has to satisfy to reach the hosts of a server; "" for
// mode SIMPLE with nothing restricted.
func (t *ServerTLS) Demands() string {
	var b strings.Builder
	if t.Mode != ServerTLSSimple {
		fmt.Fprintf(&b, "mode %s authorities %q names %q keys %q hashes %q skip %v ",
			t.Mode, t.Authorities, t.SubjectAltNames, t.SPKI, t.Hashes, t.InsecureSkipVerify)
	}
	if t.MinVersion != "" || t.MaxVersion != "" || len(t.CipherSuites) > 0 {
		fmt.Fprintf(&b, "versions %q %q ciphers %q", t.MinVersion, t.MaxVersion, t.CipherSuites)
	}
	return b.String()
}

// Policy tells which hosts may be asked for on one connection: those of equal
// demands on the client that are proven by the same certificates. It is 16
// hexadecimal digits. Host is that of the server; an automatic certificate is its
// alone.
func (t *ServerTLS) Policy(host string) string {
	proof := fmt.Sprintf("certificates %q", t.Certificates)
	if t.Automation != AutomationNone {
		proof = "managed " + host
	}
	sum := sha256.Sum256([]byte(t.Demands() + proof))
	return hex.EncodeToString(sum[:8])
}

// Credential says where a certificate, its key or the authorities to trust come
// from: a Secret object, files, or an ACME authority. It is comparable.
type Credential struct {
	// Namespace and Name are those of a Secret. It is looked up in Namespace, then
	// in the root namespace.
	Namespace, Name string
	// CertificateFile, KeyFile, AuthorityFile and CRLFile are paths of PEM files.
	CertificateFile, KeyFile, AuthorityFile, CRLFile string
	// Managed is the host whose certificate an ACME authority signs.
	Managed string
}

// String returns the words by which people know the credential.
func (c Credential) String() string {
	switch {
	case c.Managed != "":
		return "the certificate of " + c.Managed
	case c.Name != "":
		return "Secret " + c.Namespace + "/" + c.Name
	case c.CertificateFile != "":
		return "file " + c.CertificateFile
	}
	return "file " + c.AuthorityFile
}

// ManagedCertificate is a certificate that an ACME authority signed. It is never
// changed after it was built.
type ManagedCertificate struct {
	Host string // "a.example.com" or "*.example.com"
	// ChainPEM holds the certificate and those between it and the root, KeyPEM
	// its private key.
	ChainPEM, KeyPEM []byte
}

// ManagedHost is a host that wants an automatic certificate.
type ManagedHost struct {
	Host string
	// HTTP is set when a plain-text HTTP port answers HTTP-01 challenges for it;
	// TLS-ALPN-01 is always answered for exact hosts. A wildcard takes DNS-01.
	HTTP bool
}

// Issuer is a wildcard below which certificates are ordered when clients ask for
// names.
type Issuer struct {
	Wildcard string // "*.example.com" or "*"
	// Allowed bounds the names, see [ServerTLS.Allowed].
	Allowed []string
}

// Allows reports whether a certificate may be ordered for name, which the wildcard
// covers.
func (i Issuer) Allows(name string) bool {
	return len(i.Allowed) == 0 || slices.ContainsFunc(i.Allowed, func(host string) bool { return Covers(host, name) })
}

// Equal reports whether i and o say the same.
func (i Issuer) Equal(o Issuer) bool {
	return i.Wildcard == o.Wildcard && slices.Equal(i.Allowed, o.Allowed)
}

// Validity is the time in which a certificate is good.
type Validity struct{ NotBefore, NotAfter time.Time }
