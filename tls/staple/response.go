package staple

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/sluicegw/sluice/tls"
)

// skew is how far the clock of a responder may be ahead of ours.
const skew = 5 * time.Minute

// issued is a certificate with the one that signed it, nil if its chain lacks it.
type issued struct{ leaf, issuer *x509.Certificate }

// digest is the name of the certificate on disk.
func (c issued) digest() string {
	sum := sha256.Sum256(c.leaf.Raw)
	return hex.EncodeToString(sum[:])
}

func parseIssued(chainPEM []byte) (issued, error) {
	var chain []*x509.Certificate
	for {
		var b *pem.Block
		if b, chainPEM = pem.Decode(chainPEM); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return issued{}, fmt.Errorf("parse certificate %d of its chain: %w", len(chain)+1, err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return issued{}, errors.New("no certificate in PEM")
	}
	return issued{leaf: chain[0], issuer: tls.IssuerIn(chain)}, nil
}

// status is what a responder may say of a certificate.
type status string

const (
	good    status = "good"
	revoked status = "revoked"
)

// response is a verified answer of a responder.
type response struct {
	der                    []byte
	status                 status
	thisUpdate, nextUpdate time.Time
	revokedAt              time.Time
}

// verify reads a response in DER about the certificate and answers whether it may
// be believed at an instant: it has one status, that of the certificate, signed
// by the issuer or by one to whom it gave that power, within its time.
//
// Source: RFC 6960 section 3.2.
func (c issued) verify(der []byte, now time.Time) (response, error) {
	r, err := ocsp.ParseResponse(der, c.issuer)
	if err != nil {
		return response{}, fmt.Errorf("verify response: %w", err)
	}
	out := response{der: der, thisUpdate: r.ThisUpdate, nextUpdate: r.NextUpdate, revokedAt: r.RevokedAt}
	switch {
	case r.SerialNumber.Cmp(c.leaf.SerialNumber) != 0:
		return response{}, errors.New("verify response: it is about another certificate")
	case r.NextUpdate.IsZero():
		return response{}, errors.New("verify response: it does not say until when it is good")
	case !r.NextUpdate.After(r.ThisUpdate):
		return response{}, fmt.Errorf("verify response: it is good from %s until %s", r.ThisUpdate, r.NextUpdate)
	case r.ThisUpdate.After(now.Add(skew)):
		return response{}, fmt.Errorf("verify response: it is good from %s only", r.ThisUpdate)
	case !now.Before(r.NextUpdate):
		return response{}, fmt.Errorf("verify response: it was good until %s", r.NextUpdate)
	}
	if err := c.verifySigner(r.Certificate, now); err != nil {
		return response{}, err
	}
	switch r.Status {
	case ocsp.Good:
		out.status = good
	case ocsp.Revoked:
		out.status = revoked
	default:
		return response{}, errors.New("verify response: the responder does not know the certificate")
	}
	return out, nil
}

// verifySigner checks the power of the certificate that a response came with; that
// it signed the response, and the issuer it, is known already.
//
// Source: RFC 6960 section 4.2.2.2.
func (c issued) verifySigner(signer *x509.Certificate, now time.Time) error {
	if signer == nil || bytes.Equal(signer.Raw, c.issuer.Raw) {
		return nil
	}
	switch {
	case !bytes.Equal(signer.RawIssuer, c.issuer.RawSubject):
		return errors.New("verify response: its signer was not empowered by the issuer of the certificate")
	case !slices.Contains(signer.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return errors.New("verify response: its signer may not sign responses")
	case now.Before(signer.NotBefore) || now.After(signer.NotAfter):
		return errors.New("verify response: the certificate of its signer is not valid now")
	}
	return nil
}
