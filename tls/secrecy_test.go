package tls_test

import (
	"bytes"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/crypto/ocsp"

	"github.com/sluicegw/sluice/tls"
)

// shows returns what of the secret content a text shows: a PEM marker, or eight
// bytes of a value in any of the ways in which programs write bytes.
func shows(text string, secrets ...[]byte) string {
	for _, marker := range []string{"PRIVATE KEY", "-----END"} {
		if strings.Contains(text, marker) {
			return marker
		}
	}
	for _, s := range secrets {
		if b, _ := pem.Decode(s); b != nil {
			s = b.Bytes
		}
		for i := 0; i+9 <= len(s); i++ {
			part := s[i : i+9]
			list := strings.Trim(fmt.Sprintf("%d", part), "[]")
			for _, form := range []string{string(part), hex.EncodeToString(part), base64.StdEncoding.EncodeToString(part), list, strings.ReplaceAll(list, " ", ",")} {
				if strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
					return form
				}
			}
		}
	}
	return ""
}

func TestShowsCanFind(t *testing.T) {
	secret := []byte("a secret of more than eight bytes")
	for _, text := range []string{
		string(secret), fmt.Sprintf("%d", secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), base64.StdEncoding.EncodeToString(secret), "-----BEGIN EC PRIVATE KEY-----",
	} {
		if shows(text, secret) == "" {
			t.Errorf("%q passes", text)
		}
	}
	if got := shows("a certificate", secret); got != "" {
		t.Errorf("%q is found where there is nothing", got)
	}
}

func TestErrorsShowNoKey(t *testing.T) {
	bad, _ := badContents(t)
	for _, c := range bad {
		_, err := tls.ParseCertificate(c.content)
		_, files := tls.ParsePEM(join(c.content["tls.crt"], c.content["cert"]), join(c.content["tls.key"], c.content["key"]))
		for _, err := range []error{err, files} {
			for ; err != nil; err = errors.Unwrap(err) {
				if found := shows(fmt.Sprintf("%v %+v %#v", err, err, err), c.content["tls.key"], c.content["key"]); found != "" {
					t.Errorf("%s: %q is in %v", c.name, found, err)
				}
			}
		}
	}
	// An authority's Secret may hold a key where a certificate belongs.
	key := pkcs8(t, ecKey(t, elliptic.P256()))
	_, first := tls.Authority("x", map[string][]byte{"ca.crt": key})
	_, second := tls.AuthorityPEM("x", key, key)
	for _, err := range []error{first, second} {
		if found := shows(fmt.Sprintf("%v %+v %#v", err, err, err), key); err == nil || found != "" {
			t.Errorf("%q is in %v", found, err)
		}
	}
}

// A certificate shows no key however it is printed, alone or inside of others.
func TestCertificateShowsNoKey(t *testing.T) {
	key, ca := ecKey(t, elliptic.P256()), newAuthority(t)
	keyPEM, staple := pkcs8(t, key), ca.staple(t, 1, ocsp.Good)
	c, err := tls.ParseCertificate(map[string][]byte{"tls.crt": join(ca.sign(t, key, nil), ca.pem), "tls.key": keyPEM, "tls.ocsp-staple": staple})
	if err != nil {
		t.Fatal(err)
	}
	type inner struct {
		Pointer *tls.Certificate
		Value   tls.Certificate
		pointer *tls.Certificate
		value   tls.Certificate
	}
	var log bytes.Buffer
	for _, v := range []any{c, *c, inner{c, *c, c, *c}, &inner{c, *c, c, *c}, []*tls.Certificate{c}, map[string]tls.Certificate{"c": *c}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&log, verb+"\n", v)
		}
		fmt.Fprintln(&log, errors.Join(fmt.Errorf("look at %v", v)))
		for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
			slog.New(h).Info("certificate", "certificate", v)
		}
		if err := json.NewEncoder(&log).Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintln(&log, c.String(), c.GoString())
	// The scalar: all else in the file of a key is public.
	if found := shows(log.String(), must[[]byte](t)(key.Bytes())); found != "" {
		t.Errorf("%q is in what was printed", found)
	}
	if !strings.Contains(log.String(), "certificate "+c.ID()[:16]+" for a.example.com") {
		t.Errorf("what was printed does not name the certificate:\n%.500s", log.String())
	}
}
