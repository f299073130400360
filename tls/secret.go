// Package tls turns certificates, keys and authorities into Envoy secrets.
//
// What goes in: the keys and values of a Secret object as Istio reads them, the
// content of PEM files, certificates that an ACME authority signed, the keys of
// session tickets. What comes out: a [Certificate] that is decoded, checked and
// able to tell whom it is for and when, and secrets written anew, so that Envoy
// gets nothing that it would refuse and nothing that does not belong there; or
// an error that tells the author what to do. No error, and no certificate that
// is printed, shows a part of a key. Nothing here reads a clock or a file; same
// input, same bytes.
package tls

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// The types of PEM blocks.
const (
	blockCertificate = "CERTIFICATE"
	blockCRL         = "X509 CRL"
	blockKey         = "PRIVATE KEY"
)

// Tickets returns the secret of the keys of session tickets, 80 bytes each: the
// first encrypts, all decrypt.
//
// Source: envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys.
func Tickets(name string, keys [][]byte) *tlsv3.Secret {
	v := &tlsv3.TlsSessionTicketKeys{}
	for _, key := range keys {
		v.Keys = append(v.Keys, inline(key))
	}
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_SessionTicketKeys{SessionTicketKeys: v}}
}

// source is a text that somebody gave and the words for where it stands.
type source struct {
	text []byte
	// value begins a sentence about the text, at ends one about a part of it:
	// "the value under tls.crt", "under tls.crt".
	value, at string
}

func (s source) empty() bool { return len(bytes.TrimSpace(s.text)) == 0 }

// fromFile is the content of a file; what is "certificate" or the like.
func fromFile(what string, text []byte) source {
	return source{text: text, value: "the " + what + " file", at: "in the " + what + " file"}
}

// pick returns the value of the first of keys that has one.
func pick(content map[string][]byte, keys ...string) source {
	for _, key := range keys {
		if s := (source{text: content[key], value: "the value under " + key, at: "under " + key}); !s.empty() {
			return s
		}
	}
	return source{}
}

// blocks returns the PEM blocks of text whose type satisfies wanted.
func blocks(text []byte, wanted func(kind string) bool) (out []*pem.Block) {
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			return out
		}
		if wanted(b.Type) {
			out = append(out, b)
		}
	}
}

func certificates(s source) ([]*x509.Certificate, error) {
	found := blocks(s.text, func(kind string) bool { return kind == blockCertificate })
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no certificate in PEM; it starts with -----BEGIN CERTIFICATE-----", s.value)
	}
	var out []*x509.Certificate
	for i, b := range found {
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d %s cannot be read; export it again", i+1, s.at)
		}
		out = append(out, c)
	}
	return out, nil
}

func encode(chain []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range chain {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: c.Raw}))
	}
	return out.Bytes()
}

func inline(text []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: text}}
}
