package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluicegw/sluice/tls/acme/dns"
	"github.com/sluicegw/sluice/tls/acme/dns/dnstest"
	"github.com/sluicegw/sluice/tls/acme/pebbletest"
)

// zoneKeeper is a program of somebody else that changes a name server's records, as
// the HTTP hook and the program of the exec hook ask it.
func zoneKeeper(t *testing.T, names *dnstest.Server) (endpoint string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c dns.Change
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		names.Set(c.Name, c.Value, c.Action == "present")
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// hookProgram is a program that passes on what the exec hook tells it.
func hookProgram(t *testing.T, endpoint string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	text := "#!/bin/sh\nexec curl -fsS -d '{\"action\":\"'$SLUICE_ACTION'\",\"name\":\"'$2'\",\"value\":\"'$SLUICE_VALUE'\"}' " + endpoint + "\n"
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// A wildcard gets its certificate by DNS-01, however records are published.
func TestACMEOverDNS(t *testing.T) {
	t.Parallel()
	for how, publish := range map[string]func(*testing.T, *dnstest.Server) string{
		"exec": func(t *testing.T, names *dnstest.Server) string {
			return "exec:" + hookProgram(t, zoneKeeper(t, names)) + "?"
		},
		"hook": func(t *testing.T, names *dnstest.Server) string { return zoneKeeper(t, names) + "?" },
		"rfc2136": func(_ *testing.T, names *dnstest.Server) string {
			return fmt.Sprintf("rfc2136://%s?key=%s&secret=%s&", names.Address, dnstest.Key, url.QueryEscape(dnstest.Secret))
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			names := dnstest.Start(t, "zone.test.")
			s := newSigning(t, reachable{tls: true}, pebbletest.Options{NameServer: names.Address})
			metadata := ""
			if how == "hook" {
				metadata = onDemand
			}
			s.put("gateway.yaml", secured(metadata, automatic("*.zone.test", "own.zone.test")))
			s.launch("--acme-dns", publish(t, names)+"propagation=-1s&resolvers="+names.Address).settled()
			s.signed("a.zone.test")
			own := s.signed("own.zone.test")
			if wild := s.serial("b.zone.test"); wild.Cmp(own) == 0 || wild.Cmp(s.serial("a.zone.test")) != 0 {
				t.Errorf("the wildcard is answered with %v, the host below it with %v", wild, own)
			}
			s.ordered(1, 1, "*.zone.test", "own.zone.test")
			if left := names.TXT("_acme-challenge.zone.test"); len(left) > 0 {
				t.Errorf("records are left behind: %q", left)
			}
			s.succeeds("*.zone.test: done", "certificates", "renew", "*.zone.test")
			s.flawless()
		})
	}
}
