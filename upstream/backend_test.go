package upstream_test

import (
	stdtls "crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/sluicegw/sluice/model"
)

// backend is a server that names itself.
type backend struct {
	model.Endpoint
	port   int
	status atomic.Int32  // of every answer; 0 is 200
	held   chan struct{} // a request to /hold is there
	free   chan struct{} // lets one request to /hold go
}

// serveBackend runs a backend until the test ends; TLS nil is plain text, both
// HTTP/1.1 and HTTP/2.
func serveBackend(t *testing.T, name string, l model.Locality, tls *stdtls.Config) *backend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{
		Endpoint: endpoint(listener.Addr(), l), port: listener.Addr().(*net.TCPAddr).Port,
		held: make(chan struct{}, 8), free: make(chan struct{}, 8),
	}
	server := &http.Server{Protocols: new(http.Protocols), TLSConfig: tls, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			b.held <- struct{}{}
			<-b.free
		}
		if status := b.status.Load(); status != 0 {
			w.WriteHeader(int(status))
			return
		}
		s := seen{Name: name, Proto: r.Proto, Host: r.Host}
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			s.Peer = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		_ = json.NewEncoder(w).Encode(s)
	})}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error, 1)
	go func() {
		if tls != nil {
			served <- server.ServeTLS(listener, "", "")
			return
		}
		served <- server.Serve(listener)
	}()
	t.Cleanup(func() {
		close(b.free)
		_ = server.Close()
		<-served
	})
	return b
}

// plain is a backend in plain text somewhere.
func plain(t *testing.T, name string) *backend {
	t.Helper()
	return serveBackend(t, name, model.Locality{}, nil)
}
