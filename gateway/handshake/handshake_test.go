package handshake_test

import (
	"slices"
	"testing"

	"github.com/sluicegw/sluice/gateway/handshake"
	"github.com/sluicegw/sluice/model"
)

// TestServable holds what a host has against what its mode needs.
func TestServable(t *testing.T) {
	certificates := []string{"a", "b"}
	mutual := func(change func(*model.ServerTLS)) *model.ServerTLS {
		out := &model.ServerTLS{Mode: model.ServerTLSMutual}
		change(out)
		return out
	}
	nothing := mutual(func(*model.ServerTLS) {})
	skip := mutual(func(t *model.ServerTLS) { t.InsecureSkipVerify = true })
	for _, c := range []struct {
		name                 string
		in                   handshake.Input
		servable, unenforced bool
		secrets              []string
	}{
		{"simple", handshake.Input{TLS: &model.ServerTLS{Mode: model.ServerTLSSimple}, Certificates: certificates, Tickets: true}, true, false, []string{"a", "b", model.SecretTickets}},
		{"no certificate", handshake.Input{TLS: &model.ServerTLS{Mode: model.ServerTLSSimple}}, false, false, nil},
		{"authorities", handshake.Input{TLS: nothing, Certificates: certificates, Authorities: "ca", Tickets: true}, true, false, []string{"a", "b", "ca"}},
		{"nothing", handshake.Input{TLS: nothing, Certificates: certificates}, false, false, certificates},
		{"any client", handshake.Input{TLS: skip, Certificates: certificates}, true, true, certificates},
		{"any client, authorities", handshake.Input{TLS: skip, Certificates: certificates, Authorities: "ca"}, true, false, []string{"a", "b", "ca"}},
		{"pinned clients whoever signed", handshake.Input{
			TLS: mutual(func(t *model.ServerTLS) {
				t.InsecureSkipVerify, t.SPKI, t.SubjectAltNames = true, []string{"x"}, []string{"x"}
			}), Certificates: certificates, Authorities: "ca",
		}, true, false, certificates},
		{"keys", handshake.Input{TLS: mutual(func(t *model.ServerTLS) { t.SPKI = []string{"x"} }), Certificates: certificates}, true, false, certificates},
		{"hashes", handshake.Input{TLS: mutual(func(t *model.ServerTLS) { t.Hashes = []string{"x"} }), Certificates: certificates}, true, false, certificates},
		{"names alone", handshake.Input{TLS: mutual(func(t *model.ServerTLS) { t.SubjectAltNames = []string{"x"} }), Certificates: certificates}, false, false, certificates},
		{"names and keys", handshake.Input{
			TLS: mutual(func(t *model.ServerTLS) { t.SubjectAltNames, t.SPKI = []string{"x"}, []string{"x"} }), Certificates: certificates,
		}, false, false, certificates},
	} {
		if got := handshake.Servable(c.in); got != c.servable {
			t.Errorf("%s: servable %v", c.name, got)
		}
		if got := handshake.Unenforced(c.in); got != c.unenforced {
			t.Errorf("%s: unenforced %v", c.name, got)
		}
		if got := handshake.Secrets(c.in); !slices.Equal(got, c.secrets) {
			t.Errorf("%s: secrets %v, want %v", c.name, got, c.secrets)
		}
	}
}
