package loadtest

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// fakeSecure serves the port of HTTPS that the hosts of a folder name, if any, and
// as the Envoy of a data folder a dump that still has one stranger's secret. It
// reads certificates anew for every handshake.
func fakeSecure(dir, data string) error {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	socket := filepath.Join(data, "envoy-0.sock")
	_ = os.Remove(socket) // of the start before
	admin, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go func() {
		_ = http.Serve(admin, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("resource") == "dynamic_warming_secrets" {
				_, _ = fmt.Fprintf(w, `{"@type": "x.SecretsConfigDump.DynamicSecret", "name": "x%s"}`, strangerSuffix)
			}
		}))
	}()
	hosts, err := filepath.Glob(filepath.Join(dir, "hosts", "*.yaml"))
	if err != nil {
		return err
	}
	port := ""
	for i := 0; i < len(hosts) && port == ""; i++ {
		port = match(hosts[i], `number: (\d+), name: https-`)
	}
	if port == "" {
		return nil // this world has none
	}
	server := &http.Server{
		Addr: "127.0.0.1:" + port,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fakeRoute(dir, w, r)
		}),
		TLSConfig: &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return fakeCertificate(dir, hello.ServerName)
		}},
	}
	go func() { _ = server.ListenAndServeTLS("", "") }()
	return nil
}

// fakeCertificate reads the Secret of a host.
func fakeCertificate(dir, host string) (*tls.Certificate, error) {
	name, _, _ := strings.Cut(host, ".")
	text, err := os.ReadFile(filepath.Join(dir, "secrets", name+".yaml"))
	if err != nil {
		return nil, err
	}
	pem := []byte(strings.ReplaceAll(string(text), "\n    ", "\n"))
	pair, err := tls.X509KeyPair(pem, pem)
	return &pair, err
}
