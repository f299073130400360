package tls

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"unicode"

	"golang.org/x/crypto/ocsp"
)

// parseStaple returns an OCSP response in DER if it says that the certificate is
// good. Its signature is checked if the chain has the issuer; its time is not:
// Envoy does not show one that has expired.
func (c *Certificate) parseStaple(s source) ([]byte, error) {
	der := s.text
	if der[0] != 0x30 { // the tag of a sequence
		text := bytes.Map(func(r rune) rune {
			if unicode.IsSpace(r) {
				return -1
			}
			return r
		}, s.text)
		var err error
		if der, err = base64.StdEncoding.DecodeString(string(text)); err != nil {
			return nil, fmt.Errorf("%s is neither an OCSP response in DER nor one in base64; fetch it again or remove it", s.value)
		}
	}
	// One status and no more: Envoy refuses other responses.
	r, err := ocsp.ParseResponse(der, c.issuer)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s is not a response with one status that the issuer of the certificate stands for; fetch it again or remove it", s.value)
	case r.SerialNumber.Cmp(c.chain[0].SerialNumber) != 0:
		return nil, fmt.Errorf("the OCSP response %s is for another certificate; fetch it again or remove it", s.at)
	case r.Status == ocsp.Revoked:
		return nil, fmt.Errorf("the OCSP response %s says that the certificate is revoked; replace the certificate", s.at)
	case r.Status != ocsp.Good:
		return nil, fmt.Errorf("the OCSP response %s does not say that the certificate is good; fetch it again or remove it", s.at)
	}
	return der, nil
}
