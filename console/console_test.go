package console

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/model"
)

func resource(t *testing.T, typ model.ResourceType, name string, m proto.Message) *model.Resource {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &model.Resource{ResourceName: model.ResourceName{Type: typ, Name: name}, Bytes: b, Hash: 42}
}

// admin serves two routes and a secret.
func admin(t *testing.T, change func(*Sources)) *httptest.Server {
	t.Helper()
	inline := func(s string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(s)}}
	}
	resources := map[model.ResourceType][]*model.Resource{
		model.TypeRoute: {
			resource(t, model.TypeRoute, "a", &routev3.RouteConfiguration{Name: "a"}),
			resource(t, model.TypeRoute, "b", &routev3.RouteConfiguration{Name: "b"}),
		},
		model.TypeSecret: {resource(t, model.TypeSecret, "s", &tlsv3.Secret{Name: "s", Type: &tlsv3.Secret_TlsCertificate{
			TlsCertificate: &tlsv3.TlsCertificate{
				CertificateChain: inline("-----BEGIN CERTIFICATE-----"), PrivateKey: inline("-----BEGIN PRIVATE KEY-----"),
				Password: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "hunter2"}},
			},
		}})},
	}
	s := Sources{
		Ready:     func() (bool, string) { return true, "" },
		Status:    func() any { return map[string]int{"generation": 3} },
		Resources: func(t model.ResourceType) []*model.Resource { return resources[t] },
		Metrics:   prometheus.NewRegistry(),
		Log:       slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&s)
	}
	server := httptest.NewServer(Handler(s))
	t.Cleanup(server.Close)
	return server
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestConfigHidesSecrets(t *testing.T) {
	server := admin(t, nil)
	code, body := get(t, server.URL+"/config")
	if code != http.StatusOK {
		t.Fatalf("status %d: %s", code, body)
	}
	for _, secret := range []string{"BEGIN", "LS0tLS1CRUdJTi", "hunter2"} { // as text and as base64
		if strings.Contains(body, secret) {
			t.Errorf("the dump holds %q", secret)
		}
	}
	if !strings.Contains(body, `"name": "s"`) {
		t.Error("the secret is not listed by name")
	}
}

func TestConfigByTypeAndName(t *testing.T) {
	server := admin(t, nil)
	code, body := get(t, server.URL+"/config?type=route&name=b")
	var out map[string][]struct{ Name, Version string }
	if err := json.Unmarshal([]byte(body), &out); err != nil || code != http.StatusOK {
		t.Fatalf("status %d, %v: %s", code, err, body)
	}
	if len(out) != 1 || len(out["route"]) != 1 || out["route"][0].Name != "b" || out["route"][0].Version != "000000000000002a" {
		t.Errorf("answer %v, want route b alone with its version", out)
	}
	if code, body := get(t, server.URL+"/config?type=rout"); code != http.StatusBadRequest || !strings.Contains(body, "listener") {
		t.Errorf("unknown type: %d %q, want 400 and the list of types", code, body)
	}
}

func TestReadiness(t *testing.T) {
	server := admin(t, func(s *Sources) { s.Ready = func() (bool, string) { return false, "not yet" } })
	if code, body := get(t, server.URL+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "not yet") {
		t.Errorf("readyz: %d %q", code, body)
	}
	if code, _ := get(t, server.URL+"/livez"); code != http.StatusOK {
		t.Errorf("livez: %d", code)
	}
}

func TestProxyPassesOnlyWhatOnlyReads(t *testing.T) {
	var asked []string
	server := admin(t, func(s *Sources) {
		s.Proxy = func(_ *http.Request, path string) (*http.Response, error) {
			asked = append(asked, path)
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("x"))}, nil
		}
	})
	for path, want := range map[string]int{
		"/proxy/stats?usedonly": 200, "/proxy/config_dump": 404, "/proxy/quitquitquit": 404, "/proxy/stats/../config_dump": 404,
	} {
		if code, _ := get(t, server.URL+path); code != want {
			t.Errorf("GET %s: %d, want %d", path, code, want)
		}
	}
	if resp, err := http.Post(server.URL+"/proxy/stats", "", nil); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /proxy/stats: %v %v, want 405", resp, err)
	}
	if len(asked) != 1 || asked[0] != "/stats?usedonly" {
		t.Errorf("asked Envoy for %v", asked)
	}
}

func TestWaitIsBoundedByTheCaller(t *testing.T) {
	server := admin(t, func(s *Sources) {
		s.Wait = func(ctx context.Context, dirs []string) (any, error) {
			if slices.Contains(dirs, "/nowhere") {
				return nil, errors.New("no folder /nowhere")
			}
			<-ctx.Done()
			return map[string][]string{"asked": dirs}, nil
		}
	})
	for query, want := range map[string]struct {
		code int
		word string
	}{
		"?timeout=1ms":                {200, "null"},
		"?timeout=1ms&dir=/a&dir=/b":  {200, "/b"},
		"?timeout=soon":               {400, "soon"},
		"?timeout=-1s":                {400, "-1s"},
		"?timeout=1ms&dir=%2Fnowhere": {400, "no folder /nowhere"},
	} {
		if code, body := get(t, server.URL+"/wait"+query); code != want.code || !strings.Contains(body, want.word) {
			t.Errorf("/wait%s answers %d %q, want %d and %q", query, code, body, want.code, want.word)
		}
	}
}

// An Envoy that never answers holds nobody.
func TestProxyDoesNotWaitForAFrozenEnvoy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := Handler(Sources{
			Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
			Proxy: func(r *http.Request, _ string) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			},
		})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/proxy/stats", nil))
		if w.Code != http.StatusGatewayTimeout || !strings.Contains(w.Body.String(), "does not answer") {
			t.Errorf("it is answered %d %q", w.Code, w.Body)
		}
	})
}

func TestProfilingOnlyOnRequest(t *testing.T) {
	if code, _ := get(t, admin(t, nil).URL+"/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("without the flag: %d, want 404", code)
	}
	if code, _ := get(t, admin(t, func(s *Sources) { s.Profiling = true }).URL+"/debug/pprof/"); code != http.StatusOK {
		t.Errorf("with the flag: %d, want 200", code)
	}
}

func TestCertificateActions(t *testing.T) {
	var did []string
	server := admin(t, func(s *Sources) {
		s.Certificates = func() any { return []string{"a.test"} }
		s.Renew = func(_ context.Context, host string) error {
			did = append(did, "renew "+host)
			return nil
		}
		s.Revoke = func(_ context.Context, host string) error { return errors.New("no such host: " + host) }
	})
	post := func(path, site string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Sec-Fetch-Site", site)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if code, body := post("/certificates/a.test/renew", "none"); code != http.StatusOK {
		t.Errorf("renew: %d %s", code, body)
	}
	if code, body := post("/certificates/b.test/revoke", "none"); code != http.StatusConflict || !strings.Contains(body, "no such host: b.test") {
		t.Errorf("revoke: %d %s", code, body)
	}
	if code, _ := post("/certificates/c.test/renew", "cross-site"); code != http.StatusForbidden {
		t.Errorf("a page of another site gets %d", code)
	}
	if want := []string{"renew a.test"}; !slices.Equal(did, want) {
		t.Errorf("did %v, want %v", did, want)
	}
}
