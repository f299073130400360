package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/net/websocket"
)

// maxSlow bounds how long /slow may take.
const maxSlow = time.Minute

// backend answers in the name of one demo server.
type backend struct {
	name string
	// failing answers every request with 503, like a server with a fault.
	failing bool
	seen    *atomic.Int64 // requests so far, without those that ask for it
}

func newBackend(name string, failing bool) backend {
	return backend{name: name, failing: failing, seen: new(atomic.Int64)}
}

// answer is the JSON body of a backend.
type answer struct {
	Backend string      `json:"backend"`
	Method  string      `json:"method"`
	Host    string      `json:"host"` // as the gateway sent it
	Path    string      `json:"path"` // with the query
	Proto   string      `json:"proto"`
	Headers http.Header `json:"headers"`
}

func (b backend) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		b.write(w, r, http.StatusOK)
	})
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.PathValue("code"))
		if err != nil || code < 200 || code > 599 {
			http.Error(w, "the code is a number from 200 to 599", http.StatusBadRequest)
			return
		}
		b.write(w, r, code)
	})
	mux.HandleFunc("/slow", b.slow)
	mux.HandleFunc("/echo", b.echo)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/count" {
			_, _ = fmt.Fprintln(w, b.seen.Load())
			return
		}
		b.seen.Add(1)
		if b.failing {
			b.write(w, r, http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// slow answers after ?d=, a Go duration of at most [maxSlow].
func (b backend) slow(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.URL.Query().Get("d"))
	if err != nil || d < 0 || d > maxSlow {
		http.Error(w, fmt.Sprintf("d is a duration up to %s, for example /slow?d=2s", maxSlow), http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(d):
		b.write(w, r, http.StatusOK)
	case <-r.Context().Done():
	}
}

// echo returns the body, or every message of a WebSocket.
func (b backend) echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Backend", b.name)
	if r.Header.Get("Upgrade") == "websocket" {
		// A Server without a Handshake takes clients of any origin.
		websocket.Server{Handler: func(c *websocket.Conn) { _, _ = io.Copy(c, c) }}.ServeHTTP(w, r)
		return
	}
	_, _ = io.Copy(w, r.Body)
}

func (b backend) write(w http.ResponseWriter, r *http.Request, code int) {
	w.Header().Set("X-Backend", b.name)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if code == http.StatusNoContent || code == http.StatusNotModified {
		return
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	_ = out.Encode(answer{
		Backend: b.name, Method: r.Method, Host: r.Host, Path: r.URL.RequestURI(),
		Proto: r.Proto, Headers: r.Header,
	})
}
