package loadtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// secureWorld is a port of HTTPS. Every host has a server of a Gateway of its
// own, a Secret, and the routes that it would have without TLS.
type secureWorld struct {
	world     *world
	port      int
	key       leafKey
	authority *authority
	certs     map[int]certificate // by host
}

// newSecureWorld takes a free port. It has no hosts yet.
func newSecureWorld(w *world) (*secureWorld, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	key, err := newECDSAKey()
	if err != nil {
		return nil, err
	}
	a, err := newAuthority()
	if err != nil {
		return nil, err
	}
	return &secureWorld{world: w, port: port, key: key, authority: a, certs: map[int]certificate{}}, nil
}

func (w *secureWorld) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(w.port)) }

// certify gives a host a new certificate with the key of the world.
func (w *secureWorld) certify(i int) error { return w.certifyKey(i, w.key) }

// certifyKey gives a host a new certificate.
func (w *secureWorld) certifyKey(i int, key leafKey) error {
	c, err := w.authority.issue(hostName(i), key)
	w.certs[i] = c
	return err
}

// hostFile declares the routes and the Gateway of a host, in place of the file
// that a plain host has.
func (w *secureWorld) hostFile(i int) file {
	name := objectName(i)
	f := w.world.hostFile(i)
	f.text = strings.Replace(f.text, "gateways: [load]", "gateways: ["+name+"]", 1) + fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: %[1]s}
spec:
  servers:
  - port: {number: %[2]d, name: https-%[1]s, protocol: HTTPS}
    bind: 127.0.0.1
    tls: {mode: SIMPLE, credentialName: %[1]s}
    hosts: [%[3]s]
`, name, w.port, hostName(i))
	return f
}

// secretFile holds the certificate of a host.
func (w *secureWorld) secretFile(i int) file {
	c, name := w.certs[i], objectName(i)
	indent := func(pem string) string { return strings.ReplaceAll(strings.TrimSpace(pem), "\n", "\n    ") }
	return file{"secrets/" + name + ".yaml", fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: %s}
type: kubernetes.io/tls
stringData:
  tls.crt: |
    %s
  tls.key: |
    %s
`, name, indent(c.certPEM), indent(c.keyPEM))}
}

// clientTLS is what a client of a host says. It takes any certificate, as whoever
// asks compares it byte for byte, and sends a share for X25519 alone, so that the
// generator spends as little as it can; without P-256 in the list TLS 1.2 has no
// use for ECDSA certificates.
func clientTLS(host string) *tls.Config {
	return &tls.Config{
		ServerName:         host,
		NextProtos:         []string{"http/1.1"},
		MinVersion:         tls.VersionTLS12,
		CurvePreferences:   []tls.CurveID{tls.X25519, tls.CurveP256},
		InsecureSkipVerify: true,
	}
}

// client returns a client of the i-th host.
func (w *secureWorld) client(i int) *client {
	return &client{address: w.address(), tls: clientTLS(hostName(i))}
}

// shown makes one connection for a server name, returns the certificate that it
// is shown, and resets it.
func (w *secureWorld) shown(ctx context.Context, name string) ([]byte, error) {
	c := &client{address: w.address(), tls: clientTLS(name)}
	defer c.reset()
	if err := c.open(ctx); err != nil {
		return nil, fmt.Errorf("shake hands with %s: %w", name, err)
	}
	return c.conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw, nil
}
