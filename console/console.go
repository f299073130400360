// Package console is the admin API: health, status, metrics and the resources
// as sent.
//
// What goes in: small interfaces on the parts that know. What comes out: an
// [http.Handler]. It alone decides what an operator sees of a running Sluice;
// it changes nothing, but for certificates that it has renewed or revoked.
package console

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluicegw/sluice/model"
)

// Sources are what the admin API reads from. All are called per request, from
// many goroutines.
type Sources struct {
	// Ready says whether every proxy has a whole configuration, and if not, why.
	Ready func() (bool, string)
	// Status returns the value that GET /status writes as JSON.
	Status func() any
	// Wait returns, when what is on disk below the folders (all when there are none)
	// is live, cannot become so, or ctx is over, the value that GET /wait writes as
	// JSON. An error is the caller's.
	Wait func(ctx context.Context, dirs []string) (any, error)
	// Resources returns the resources of one type, sorted by name.
	Resources func(model.ResourceType) []*model.Resource
	// Metrics is what GET /metrics exposes.
	Metrics prometheus.Gatherer
	// Proxy asks the admin interface of the local Envoy; nil without one. Only
	// paths in proxyPaths are passed on.
	Proxy func(r *http.Request, path string) (*http.Response, error)
	// Certificates returns the value that GET /certificates writes as JSON; nil
	// leaves out /certificates.
	Certificates func() any
	// Renew and Revoke do what POST /certificates/HOST/renew and /revoke ask for,
	// and return when it is done.
	Renew, Revoke func(ctx context.Context, host string) error
	// Profiling adds /debug/pprof.
	Profiling bool
	Log       *slog.Logger
}

// proxyPaths are the read-only paths of Envoy's admin interface that are passed
// on. Dumps of its configuration are not: /config redacts, Envoy does not.
func proxyPaths() []string {
	return []string{"/stats", "/stats/prometheus", "/clusters", "/listeners", "/server_info", "/ready", "/memory"}
}

// Handler returns the admin API.
func Handler(s Sources) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { s.writeJSON(w, s.Status()) })
	mux.HandleFunc("GET /wait", s.wait)
	mux.HandleFunc("GET /config", s.config)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{}))
	if s.Proxy != nil {
		for _, p := range proxyPaths() {
			mux.HandleFunc("GET /proxy"+p, s.proxy)
		}
	}
	if s.Certificates != nil {
		mux.HandleFunc("GET /certificates", func(w http.ResponseWriter, _ *http.Request) { s.writeJSON(w, s.Certificates()) })
		mux.HandleFunc("POST /certificates/{host}/renew", act(s.Renew))
		mux.HandleFunc("POST /certificates/{host}/revoke", act(s.Revoke))
	}
	if s.Profiling {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	}
	// Pages of others, open in a browser on this machine, must not act here.
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "a page of another site must not act here", http.StatusForbidden)
	}))
	return origin.Handler(mux)
}

// actMost bounds an action; an order of a certificate may wait for those of peers.
const actMost = 20 * time.Minute

// act does something about the host in the path.
func act(do func(context.Context, string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		patient(w, actMost)
		if err := do(r.Context(), r.PathValue("host")); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}

func (s Sources) readyz(w http.ResponseWriter, _ *http.Request) {
	ok, why := s.Ready()
	if !ok {
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// waitMost is how long GET /wait waits without ?timeout=.
const waitMost = 30 * time.Second

// wait answers once there is an answer, or after ?timeout=; ?dir= may be given
// several times.
func (s Sources) wait(w http.ResponseWriter, r *http.Request) {
	most := waitMost
	if text := r.URL.Query().Get("timeout"); text != "" {
		var err error
		if most, err = time.ParseDuration(text); err != nil || most < 0 {
			http.Error(w, fmt.Sprintf("timeout %q is not a duration such as 30s", text), http.StatusBadRequest)
			return
		}
	}
	patient(w, most+exchangeTimeout)
	ctx, cancel := context.WithTimeout(r.Context(), most)
	defer cancel()
	answer, err := s.Wait(ctx, r.URL.Query()["dir"])
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.writeJSON(w, answer)
}

func (s Sources) writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		s.Log.Debug("answer cut short", "error", err)
	}
}

// config writes the resources as sent, one JSON object by type; ?type= takes
// the short words of types, ?name= one name.
func (s Sources) config(w http.ResponseWriter, r *http.Request) {
	types, err := TypesNamed(r.URL.Query().Get("type"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name := r.URL.Query().Get("name")
	out := map[string][]json.RawMessage{}
	for _, t := range types {
		for _, res := range s.Resources(t) {
			if name != "" && res.Name != name {
				continue
			}
			text, err := JSON(res)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			out[t.Short()] = append(out[t.Short()], text)
		}
	}
	s.writeJSON(w, out)
}

// An Envoy that is frozen takes connections and never answers; one with very many
// stats takes a while.
const (
	proxyPatience = 10 * time.Second // for the first byte
	proxyMost     = time.Minute      // for the whole answer
)

func (s Sources) proxy(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), proxyMost)
	defer cancel()
	impatient := time.AfterFunc(proxyPatience, cancel)
	r = r.WithContext(ctx)
	path := strings.TrimPrefix(r.URL.Path, "/proxy")
	if r.URL.RawQuery != "" {
		path += "?" + r.URL.RawQuery
	}
	resp, err := s.Proxy(r, path)
	if !impatient.Stop() && err != nil {
		http.Error(w, fmt.Sprintf("envoy does not answer within %v", proxyPatience), http.StatusGatewayTimeout)
		return
	}
	if err != nil {
		http.Error(w, "ask envoy: "+err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	w.WriteHeader(resp.StatusCode)
	if _, err := io.Copy(w, resp.Body); err != nil {
		s.Log.Debug("answer cut short", "error", err)
	}
}
