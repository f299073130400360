package dns_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libdns/libdns"

	"github.com/sluicegw/sluice/tls/acme/dns"
	"github.com/sluicegw/sluice/tls/acme/dns/dnstest"
)

const (
	zone = "example.com."
	name = "_acme-challenge.a.example.com"
)

func record(value string) []libdns.Record {
	return []libdns.Record{libdns.RR{Type: "TXT", Name: "_acme-challenge.a", Data: value, TTL: time.Minute}}
}

func TestUpdateAddsAndRemovesValuesOfOneName(t *testing.T) {
	server := dnstest.Start(t, zone)
	u := &dns.Update{Server: server.Address, Key: "sluice-test", Secret: dnstest.Secret}
	for _, value := range []string{"one", "two", strings.Repeat("x", 300)} {
		if got, err := u.AppendRecords(t.Context(), zone, record(value)); err != nil || len(got) != 1 {
			t.Fatal(got, err)
		}
	}
	if _, err := u.DeleteRecords(t.Context(), zone, record("one")); err != nil {
		t.Fatal(err)
	}
	if got := server.TXT(name); !slices.Equal(got, []string{"two", strings.Repeat("x", 300)}) {
		t.Errorf("the server has %q", got)
	}
}

func TestUpdateSaysWhatTheServerRefuses(t *testing.T) {
	server := dnstest.Start(t, zone)
	closed := httptest.NewServer(nil)
	closed.Close()
	for what, c := range map[string]struct {
		update *dns.Update
		zone   string
		words  string
	}{
		"another secret":      {&dns.Update{Server: server.Address, Key: "sluice-test", Secret: "b3RoZXI="}, zone, "TSIG key sluice-test"},
		"an unknown key":      {&dns.Update{Server: server.Address, Key: "stranger", Secret: dnstest.Secret}, zone, "TSIG key stranger"},
		"no key":              {&dns.Update{Server: server.Address}, zone, "NOTAUTH"},
		"a zone of others":    {&dns.Update{Server: server.Address, Key: "sluice-test", Secret: dnstest.Secret}, "example.net.", "NOTZONE"},
		"a secret not base64": {&dns.Update{Server: server.Address, Key: "sluice-test", Secret: "%"}, zone, "base64"},
		"nobody there":        {&dns.Update{Server: strings.TrimPrefix(closed.URL, "http://")}, zone, "refused"},
	} {
		_, err := c.update.AppendRecords(t.Context(), c.zone, record("v"))
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want words %q", what, err, c.words)
		}
		if err != nil && (strings.Contains(err.Error(), dnstest.Secret) || strings.Contains(err.Error(), "b3RoZXI=")) {
			t.Errorf("%s: the secret is in the error", what)
		}
	}
	if n := server.Updates(); n != 0 {
		t.Errorf("%d updates were taken", n)
	}
}

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandIsToldTheChange(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	hook := dns.Command{
		Path: script(t, `echo "$* | $SLUICE_ACTION $SLUICE_ZONE $SLUICE_NAME $SLUICE_TYPE $SLUICE_VALUE $SLUICE_TTL" >> "$1"`),
		Args: []string{out},
	}
	if _, err := hook.AppendRecords(t.Context(), zone, record("v; $(x)")); err != nil {
		t.Fatal(err)
	}
	if _, err := hook.DeleteRecords(t.Context(), zone, record("v")); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	want := out + " present " + name + " v; $(x) | present example.com " + name + " TXT v; $(x) 60\n" +
		out + " cleanup " + name + " v | cleanup example.com " + name + " TXT v 60\n"
	if string(got) != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestCommandThatFailsIsQuoted(t *testing.T) {
	hook := dns.Command{Path: script(t, "echo no such zone >&2\nexit 3")}
	_, err := hook.AppendRecords(t.Context(), zone, record("v"))
	if err == nil || !strings.Contains(err.Error(), "no such zone") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (dns.Command{Path: script(t, "exec sleep 60")}).AppendRecords(ctx, zone, record("v")); err == nil {
		t.Error("a hook that hangs is waited for without end")
	}
}

func TestEndpointIsToldTheChange(t *testing.T) {
	var got []dns.Change
	status := http.StatusNoContent
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c dns.Change
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil || r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer x" {
			t.Errorf("%v %s %v", err, r.Method, r.Header)
		}
		got = append(got, c)
		w.WriteHeader(status)
		if status != http.StatusNoContent {
			_, _ = w.Write([]byte("the zone is locked"))
		}
	}))
	defer server.Close()
	hook := dns.Endpoint{URL: server.URL, Authorization: "Bearer x"}
	if _, err := hook.AppendRecords(t.Context(), zone, record("v")); err != nil {
		t.Fatal(err)
	}
	if _, err := hook.DeleteRecords(t.Context(), zone, record("v")); err != nil {
		t.Fatal(err)
	}
	want := dns.Change{Action: "present", Zone: "example.com", Name: name, Type: "TXT", Value: "v", TTL: 60}
	cleanup := want
	cleanup.Action = "cleanup"
	if !slices.Equal(got, []dns.Change{want, cleanup}) {
		t.Errorf("%+v", got)
	}
	status = http.StatusConflict
	if _, err := hook.AppendRecords(t.Context(), zone, record("v")); err == nil || !strings.Contains(err.Error(), "the zone is locked") {
		t.Errorf("%v", err)
	}
}
