package staple

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

func TestVerify(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	c := a.leaf(7, responderURL)
	now := time.Now().Truncate(time.Second)
	fresh := func(change func(*ocsp.Response)) ocsp.Response {
		r := ocsp.Response{Status: ocsp.Good, SerialNumber: big.NewInt(7), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
		if change != nil {
			change(&r)
		}
		return r
	}
	// delegated signs with a certificate that by gives.
	delegated := func(by *authority, change func(*x509.Certificate)) []byte {
		key := newKey(t)
		cert := &x509.Certificate{SerialNumber: big.NewInt(99), Subject: pkix.Name{CommonName: "responder"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}}
		if change != nil {
			change(cert)
		}
		signer := by.sign(cert, key)
		r := fresh(nil)
		r.Certificate = signer
		return must[[]byte](t)(ocsp.CreateResponse(a.cert, signer, r, key))
	}
	valid := a.respond(fresh(nil))
	for _, x := range []struct {
		name  string
		der   []byte
		want  status
		fault string
	}{
		{"good", valid, good, ""},
		{"revoked", a.respond(fresh(func(r *ocsp.Response) { r.Status = ocsp.Revoked })), revoked, ""},
		{"unknown", a.respond(fresh(func(r *ocsp.Response) { r.Status = ocsp.Unknown })), "", "does not know the certificate"},
		{"a delegate", delegated(a, nil), good, ""},
		{"a delegate without the power", delegated(a, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), "", "may not sign responses"},
		{"a server's certificate as delegate", delegated(a, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), "", "may not sign responses"},
		{"a delegate of the past", delegated(a, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = now.Add(-2*time.Hour), now.Add(-time.Hour)
		}), "", "is not valid now"},
		{"a delegate of the future", delegated(a, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = now.Add(time.Hour), now.Add(2*time.Hour)
		}), "", "is not valid now"},
		{"a stranger's delegate", delegated(stranger, nil), "", "bad OCSP signature"},
		{"a stranger", stranger.respond(fresh(nil)), "", "bad OCSP signature"},
		{"another serial number", a.respond(fresh(func(r *ocsp.Response) { r.SerialNumber = big.NewInt(8) })), "", "about another certificate"},
		{"expired", a.respond(fresh(func(r *ocsp.Response) { r.NextUpdate = now })), "", "it was good until"},
		{"not yet", a.respond(fresh(func(r *ocsp.Response) { r.ThisUpdate = now.Add(skew + time.Minute) })), "", "it is good from"},
		{"a clock a little ahead", a.respond(fresh(func(r *ocsp.Response) { r.ThisUpdate = now.Add(skew) })), good, ""},
		{"without an end", a.respond(fresh(func(r *ocsp.Response) { r.NextUpdate = time.Time{} })), "", "until when"},
		{"with an end before its begin", a.respond(fresh(func(r *ocsp.Response) { r.ThisUpdate = r.NextUpdate })), "", "it is good from"},
		{"try later", ocsp.TryLaterErrorResponse, "", "try later"},
		{"cut", valid[:len(valid)-1], "", "verify response"},
		{"with something behind it", append(append([]byte{}, valid...), 0), "", "trailing data"},
		{"nothing", nil, "", "verify response"},
		{"text", []byte("<html>"), "", "verify response"},
	} {
		t.Run(x.name, func(t *testing.T) {
			got, err := c.verify(x.der, now)
			if x.fault == "" && (err != nil || got.status != x.want) || x.fault != "" && (err == nil || !strings.Contains(err.Error(), x.fault)) {
				t.Errorf("got %q, %v, want %q, %q", got.status, err, x.want, x.fault)
			}
		})
	}
}

// What comes over a real network, by the keeper's own client.
func TestFetch(t *testing.T) {
	a := newAuthority(t)
	mux := http.NewServeMux()
	responder := httptest.NewServer(mux)
	defer responder.Close()
	const path = "/{request...}"
	mux.Handle("/good"+path, a)
	mux.HandleFunc("/large"+path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxBytes+1)) })
	mux.HandleFunc("/gone"+path, func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	mux.HandleFunc("/moved"+path, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/good/"+strings.TrimPrefix(r.URL.EscapedPath(), "/moved/"), http.StatusFound)
	})
	mux.HandleFunc("/around"+path, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) })
	mux.HandleFunc("/file"+path, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "file:///etc/hostname", http.StatusFound)
	})
	mux.HandleFunc("/metadata"+path, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest/", http.StatusFound)
	})
	for _, x := range []struct{ name, url, fault string }{
		{"good", responder.URL + "/good", ""},
		{"good with a slash", responder.URL + "/good/", ""},
		{"moved", responder.URL + "/moved", ""},
		{"gone", responder.URL + "/gone", "status 404"},
		{"large", responder.URL + "/large", "more than 65536 bytes"},
		{"around", responder.URL + "/around", "more than 3 redirects"},
		{"to a file", responder.URL + "/file", `the scheme "file" is neither http nor https`},
		{"to the metadata of a cloud", responder.URL + "/metadata", "address 169.254.169.254 is not for responders"},
		{"at the metadata of a cloud", "http://169.254.169.254/latest", "address 169.254.169.254 is not for responders"},
		{"at the same in IPv6", "http://[::ffff:169.254.169.254]/latest", "is not for responders"},
		{"link-local", "http://[fe80::1]/", "is not for responders"},
		{"unspecified", "http://0.0.0.0:1/", "is not for responders"},
		{"a query", responder.URL + "/good?a=", "a query or a fragment"},
		{"an empty query", responder.URL + "/good?", "a query or a fragment"},
		{"a fragment", responder.URL + "/good#a", "a query or a fragment"},
		{"a user", strings.Replace(responder.URL, "//", "//user:word@", 1) + "/good", "has a user"},
	} {
		t.Run(x.name, func(t *testing.T) {
			k := New(Options{})
			defer k.client.http.CloseIdleConnections()
			got, err := k.fetch(t.Context(), a.leaf(7, x.url))
			if x.fault == "" && (err != nil || got.status != good) || x.fault != "" && (err == nil || !strings.Contains(err.Error(), x.fault)) {
				t.Errorf("got %q, %v, want %q", got.status, err, x.fault)
			}
		})
	}
}

func TestFetchEnds(t *testing.T) {
	a := newAuthority(t)
	ctx, cancel := context.WithCancel(t.Context())
	responder := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer responder.Close()
	k := New(Options{Client: responder.Client()})
	if _, err := k.fetch(ctx, a.leaf(7, responder.URL)); err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("got %v", err)
	}
}

// Whatever a responder sends, it gives an error or a response within its time,
// about the certificate, that the issuer stands for.
func FuzzVerify(f *testing.F) {
	a := newAuthority(f)
	c, now := a.leaf(7, responderURL), time.Now()
	for _, s := range []int{ocsp.Good, ocsp.Revoked, ocsp.Unknown} {
		f.Add(a.respond(ocsp.Response{Status: s, SerialNumber: big.NewInt(7), ThisUpdate: now, NextUpdate: now.Add(time.Hour)}))
	}
	f.Add(ocsp.UnauthorizedErrorResponse)
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := c.verify(der, now)
		if err == nil && (r.status != good && r.status != revoked || !now.Before(r.nextUpdate) || len(r.der) == 0) {
			t.Errorf("got %q until %v", r.status, r.nextUpdate)
		}
	})
}
