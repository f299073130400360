package compile

import (
	"bytes"
	"fmt"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/sluicegw/sluice/compile/graph"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/tls"
)

// secretKey names one SDS secret made of a credential: its key pair, or the
// authorities that it trusts.
type secretKey struct {
	credential model.Credential
	ca         bool
}

// lack is why a part of a credential cannot be used; zero if it can.
type lack struct {
	reason model.Reason
	why    string
}

// credential is what is behind a [model.Credential]: a pair, authorities, or why
// there is none.
type credential struct {
	key          model.Credential
	object       model.Ref // the Secret; zero if there is none
	pair         *tls.Certificate
	ca           []byte // an SDS secret, encoded
	noPair, noCA lack
	// stalePair and staleCA are why a newer version is not in force.
	stalePair, staleCA lack
}

func (c credential) equal(o credential) bool {
	return c.object == o.object && c.pair.Equal(o.pair) && bytes.Equal(c.ca, o.ca) && c.noPair == o.noPair && c.noCA == o.noCA &&
		c.stalePair == o.stalePair && c.staleCA == o.staleCA
}

func (rs *rules) readCredential(rd *graph.Reader, key model.Credential) credential {
	c := rs.lookUp(rd, key)
	c.key = key
	return c
}

func (rs *rules) lookUp(rd *graph.Reader, key model.Credential) (c credential) {
	switch {
	case key.Managed != "":
		return rs.readManaged(rd, key)
	case key.Name == "":
		return rs.readFiles(rd, key)
	}
	o := rs.findSecret(rd, key)
	if o == nil {
		why := fmt.Sprintf("there is no Secret %s/%s; create it or correct the name", key.Namespace, key.Name)
		c.noPair, c.noCA = lack{model.ReasonCredentialMissing, why}, lack{model.ReasonCredentialMissing, why}
		return c
	}
	c.object = o.Ref
	c.pair, c.noPair = pairOf(o.Content)
	c.ca, c.noCA = authorityOf(key, o.Content)
	if o.Before == nil {
		return c
	}
	// The newer version is worse than the one before, which stays in force.
	if before, _ := pairOf(o.Before); c.pair == nil && before != nil {
		c.pair, c.stalePair, c.noPair = before, c.noPair, lack{}
	}
	if before, _ := authorityOf(key, o.Before); c.ca == nil && before != nil {
		c.ca, c.staleCA, c.noCA = before, c.noCA, lack{}
	}
	return c
}

// findSecret looks in the namespace of the credential, then in the root
// namespace.
func (rs *rules) findSecret(rd *graph.Reader, key model.Credential) *model.Opaque {
	for _, ns := range []string{key.Namespace, rs.fleet.RootNamespace} {
		if o, ok := rs.objects.Read(rd, model.Ref{Kind: "Secret", Namespace: ns, Name: key.Name}).(*model.Opaque); ok {
			return o
		}
	}
	return nil
}

func pairOf(content map[string][]byte) (*tls.Certificate, lack) {
	pair, err := tls.ParseCertificate(content)
	if err != nil {
		return nil, lack{model.ReasonCredentialInvalid, err.Error()}
	}
	return pair, lack{}
}

func authorityOf(key model.Credential, content map[string][]byte) ([]byte, lack) {
	s, err := tls.Authority(model.SecretName(key, true), content)
	return encoded(s, err)
}

func encoded(s *tlsv3.Secret, err error) ([]byte, lack) {
	if err != nil {
		return nil, lack{model.ReasonCredentialInvalid, err.Error()}
	}
	b, err := encode(s)
	if err != nil {
		return nil, lack{model.ReasonCredentialInvalid, err.Error()}
	}
	return b, lack{}
}

func (rs *rules) readManaged(rd *graph.Reader, key model.Credential) (c credential) {
	m := rs.managed.Read(rd, key.Managed)
	if m == nil {
		c.noPair = lack{model.ReasonCertificatePending, fmt.Sprintf(
			"the certificate of %s is not signed yet; see `sluice certificates` for the state of the order", key.Managed)}
		return c
	}
	var err error
	if c.pair, err = tls.ParsePEM(m.ChainPEM, m.KeyPEM); err != nil {
		c.noPair = lack{model.ReasonCredentialInvalid, err.Error()}
	}
	return c
}

// File is what is known of a file that an object names.
type File struct {
	Content []byte
	// Err says why it cannot be read; "" if it can.
	Err string
	// before is the content that it took the place of.
	before []byte
}

// readFiles reads the PEM files of a credential. A pair whose two files are
// replaced one after the other does not fit for a moment: of what the files hold
// and held before, the first that fits is in force.
func (rs *rules) readFiles(rd *graph.Reader, key model.Credential) (c credential) {
	if key.AuthorityFile != "" {
		c.ca, c.noCA = rs.readAuthorityFiles(rd, key)
	}
	if key.CertificateFile == "" {
		return c
	}
	chain, why := rs.readFile(rd, key.CertificateFile)
	private, whyKey := rs.readFile(rd, key.KeyFile)
	for _, w := range []lack{why, whyKey} {
		if w.why != "" {
			c.noPair = w
			return c
		}
	}
	for _, try := range [][2][]byte{{chain.Content, private.Content}, {chain.before, private.Content}, {chain.Content, private.before}, {chain.before, private.before}} {
		pair, err := tls.ParsePEM(try[0], try[1])
		if err == nil {
			c.pair, c.stalePair, c.noPair = pair, c.noPair, lack{}
			return c
		}
		if c.noPair.why == "" {
			c.noPair = lack{model.ReasonCredentialInvalid, err.Error()}
		}
	}
	return c
}

func (rs *rules) readAuthorityFiles(rd *graph.Reader, key model.Credential) ([]byte, lack) {
	ca, why := rs.readFile(rd, key.AuthorityFile)
	if why.why != "" {
		return nil, why
	}
	crl := &File{}
	if key.CRLFile != "" {
		if crl, why = rs.readFile(rd, key.CRLFile); why.why != "" {
			return nil, why
		}
	}
	return encoded(tls.AuthorityPEM(model.SecretName(key, true), ca.Content, crl.Content))
}

func (rs *rules) readFile(rd *graph.Reader, path string) (*File, lack) {
	f := rs.files.Read(rd, path)
	switch {
	case f == nil:
		return nil, lack{model.ReasonCredentialMissing, fmt.Sprintf("file %s is not read yet", path)}
	case f.Err != "" && f.before == nil:
		return nil, lack{model.ReasonCredentialMissing, fmt.Sprintf("file %s cannot be used: %s", path, f.Err)}
	case f.Err != "":
		return &File{Content: f.before}, lack{}
	}
	return f, lack{}
}

// certificate is what the rest needs to know of a credential's pair: it does not
// change when a certificate is replaced by one as good.
type certificate struct {
	key    model.Credential
	usable bool
	rsa    bool
	// remark is why it is not usable, or what is wrong with it all the same.
	remark lack
}

func (rs *rules) judge(rd *graph.Reader, key model.Credential) certificate {
	c := rs.credential.Read(rd, key)
	out := certificate{key: key, usable: c.pair != nil, remark: c.noPair}
	if c.pair == nil {
		return out
	}
	out.rsa, out.remark = c.pair.RSA(), c.stalePair
	if c.stalePair.why != "" {
		out.remark.why += "; the version before it stays in force"
	}
	if c.pair.MustStaple() && !c.pair.Stapled() && rs.stapleOf(rd, c.pair) == nil {
		out.usable = false
		out.remark = lack{model.ReasonCertificatePending, fmt.Sprintf("%s must be shown with an OCSP response, and there is none yet", key)}
		return out
	}
	valid, now := c.pair.Validity(), rs.moments.Read(rd, key)
	switch {
	case now.IsZero():
	case !now.Before(valid.NotAfter):
		out.remark = lack{model.ReasonCertificateExpired, fmt.Sprintf("%s expired at %s; clients refuse it, replace it", key, valid.NotAfter.UTC().Format(time.RFC3339))}
	case now.Before(valid.NotBefore):
		out.remark = lack{model.ReasonCertificateNotYet, fmt.Sprintf("%s is valid from %s on; clients refuse it until then", key, valid.NotBefore.UTC().Format(time.RFC3339))}
	}
	return out
}

// buildSecret makes the SDS secret that a cluster or a filter chain asks for.
func (rs *rules) buildSecret(rd *graph.Reader, key secretKey) resources {
	c := rs.credential.Read(rd, key.credential)
	name := model.ResourceName{Type: model.TypeSecret, Name: model.SecretName(key.credential, key.ca)}
	if !key.ca {
		return rs.pairSecret(rd, name, c)
	}
	if c.ca == nil {
		return resources{} // reported where it is missed
	}
	return resources{list: []*model.Resource{newResource(part{name: name, owners: ownersOfSecret(c)}, c.ca)}}
}

func (rs *rules) pairSecret(rd *graph.Reader, name model.ResourceName, c credential) resources {
	if c.pair == nil {
		return resources{}
	}
	return resourcesOf(part{name: name, msg: c.pair.Secret(name.Name, rs.stapleOf(rd, c.pair)), owners: ownersOfSecret(c)})
}

// stapleOf returns the OCSP response that was fetched for a pair; nil if there is
// none.
func (rs *rules) stapleOf(rd *graph.Reader, pair *tls.Certificate) []byte {
	if pair.Responder() == "" {
		return nil
	}
	if s := rs.staples.Read(rd, pair.ID()); s != "" {
		return []byte(s)
	}
	return nil
}

func ownersOfSecret(c credential) []model.Ref {
	if c.object == (model.Ref{}) {
		return nil
	}
	return []model.Ref{c.object}
}

// missingCredential says why the TLS of a policy cannot be set up; "" if it
// can.
func (rs *rules) missingCredential(rd *graph.Reader, t *model.UpstreamTLS, namespace string) string {
	if t == nil || t.Credential == "" {
		return ""
	}
	c := rs.credential.Read(rd, model.Credential{Namespace: namespace, Name: t.Credential})
	switch {
	case t.Mode == model.TLSMutual && c.pair == nil:
		return c.noPair.why
	case t.Mode == model.TLSSimple && c.ca == nil && !t.InsecureSkipVerify:
		return c.noCA.why
	}
	return ""
}
