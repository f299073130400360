package acme_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/sluicegw/sluice/tls/acme/pebbletest"
)

// An authority that refuses to hear which certificate is replaced gives one to an
// order that does not say so.
func TestPredecessorIsForgotten(t *testing.T) {
	t.Parallel()
	const host = "forgotten.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	m := issue(t, a, options(a, t.TempDir()), host)
	before := m.served.leaf(t, host)
	a.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/order-plz" || !replaces(t, r) {
			return false
		}
		pebbletest.Problem{Status: http.StatusBadRequest, Kind: "malformed", Detail: "no order for the given certificate"}.Write(w)
		return true
	})
	if err := m.Renew(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	m.issued(t, host, before)
}

// replaces reports whether a new order names a certificate that it replaces.
func replaces(t *testing.T, r *http.Request) bool {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var signed struct{ Payload string }
	var order struct{ Replaces string }
	if err := json.Unmarshal(body, &signed); err != nil {
		t.Error(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(signed.Payload)
	if err != nil || json.Unmarshal(payload, &order) != nil {
		t.Errorf("the order cannot be read: %v", err)
	}
	return order.Replaces != ""
}
