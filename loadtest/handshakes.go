package loadtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
)

const (
	rsaBits = 2048
	// ticketKeyBytes is the length of a key of session tickets.
	//
	// Source: Envoy, TlsSessionTicketKeys: each key is exactly 80 bytes.
	ticketKeyBytes = 80
)

// variant is one way to shake hands.
type variant struct {
	name    string
	host    int
	version uint16
	resumed bool
}

// runHandshakes compares sluice's Envoy with static ones that have the same
// certificates and the same settings of TLS. Every call is a new connection, a
// handshake, one small request and a reset.
func runHandshakes(ctx context.Context, l *lab) (measures, error) {
	plain := len(l.world.goesTo)
	w, err := newSecureWorld(newWorld(0, plain+2, l.world.services))
	if err != nil {
		return nil, err
	}
	static, err := l.certifyPair(w, plain)
	if err != nil {
		return nil, err
	}
	out := measures{}
	for _, v := range []variant{
		{"ecdsa_full", plain, tls.VersionTLS13, false},
		{"rsa_full", plain + 1, tls.VersionTLS13, false},
		{"ecdsa_resumed", plain, tls.VersionTLS13, true},
		{"ecdsa_resumed_tls12", plain, tls.VersionTLS12, true},
	} {
		l.note("%s", v.name)
		m, err := l.play(ctx, contest{
			address: w.address(),
			config:  static,
			dial:    func(address string) caller { return w.handshakes(address, v) },
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, err)
		}
		out["wrong"] += m["wrong"]
		out.add(v.measures(m))
	}
	return out, nil
}

// certifyPair gives the host first an ECDSA certificate and the next an RSA one,
// writes what declares them, and returns how a static Envoy is told of the same.
func (l *lab) certifyPair(w *secureWorld, first int) (func(port int, edge bool) (string, error), error) {
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, fmt.Errorf("make an RSA key: %w", err)
	}
	rsaKey, err := newLeafKey(key)
	if err != nil {
		return nil, err
	}
	tickets := make([]byte, ticketKeyBytes)
	_, _ = rand.Read(tickets) // never returns an error
	paths := map[string][]byte{"tickets": tickets}
	in := staticInput{Tickets: filepath.Join(l.root, "tickets")}
	for i, key := range []leafKey{w.key, rsaKey} {
		i += first
		if err := w.certifyKey(i, key); err != nil {
			return nil, err
		}
		if err := l.disk.write([]file{w.secretFile(i), w.hostFile(i)}); err != nil {
			return nil, err
		}
		name := hostName(i)
		paths[name+".crt"], paths[name+".key"] = []byte(w.certs[i].certPEM), []byte(w.certs[i].keyPEM)
		in.Secure = append(in.Secure, staticSecure{name, filepath.Join(l.root, name+".crt"), filepath.Join(l.root, name+".key")})
	}
	for name, text := range paths {
		if err := os.WriteFile(filepath.Join(l.root, name), text, 0o600); err != nil {
			return nil, fmt.Errorf("write what a static Envoy shows: %w", err)
		}
	}
	return func(port int, edge bool) (string, error) {
		whole := staticWorld(w.world, port, edge)
		whole.Hosts, whole.Secure, whole.Tickets = whole.Hosts[first:], in.Secure, in.Tickets
		return staticConfig(whole)
	}, nil
}

// measures names what a contest found. How busy the proxies were, as a part of a
// core, tells whether they or the generator bounded the rate: below about 0.9 the
// CPU time of a handshake says more than the rate.
func (v variant) measures(m measures) measures {
	out := measures{}
	for to, from := range map[string]string{
		"ratio": "throughput_ratio", "cpu_ratio": "cpu_ratio", "p99_ratio": "p99_ratio",
		"per_second": "sluice_rps", "static_per_second": "static_rps",
		"cpu_us": "sluice_cpu_us_per_request", "static_cpu_us": "static_cpu_us_per_request",
	} {
		out[v.name+"_"+to] = m[from]
	}
	for to, side := range map[string]string{"busy": "sluice", "static_busy": "static"} {
		out[v.name+"_"+to] = m[side+"_rps"] * m[side+"_cpu_us_per_request"] / 1e6
	}
	return out
}

// handshakes returns a caller of a variant.
func (w *secureWorld) handshakes(address string, v variant) caller {
	config := clientTLS(hostName(v.host))
	config.MinVersion, config.MaxVersion = v.version, v.version
	if v.resumed {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	return &handshakeCaller{
		client: client{address: address, tls: config}, host: hostName(v.host),
		backend: w.world.backendOf(v.host), certificate: w.certs[v.host].der, resumes: v.resumed,
	}
}

// handshakeCaller opens a connection for each call. If it resumes, the first one
// has nothing to resume yet.
type handshakeCaller struct {
	client
	host, backend string
	certificate   []byte
	resumes, has  bool
}

func (c *handshakeCaller) call(ctx context.Context, _ int) error {
	defer c.reset()
	if err := expect(ctx, &c.client, page{c.host, "/"}, c.backend); err != nil {
		return err
	}
	conn, ok := c.conn.(*tls.Conn)
	if !ok {
		return fmt.Errorf("%w: %s closes after one request", errWrongAnswer, c.host)
	}
	state := conn.ConnectionState()
	if state.DidResume != c.has || !bytes.Equal(state.PeerCertificates[0].Raw, c.certificate) {
		return fmt.Errorf("%w: %s shows another certificate, or resumed is %v", errWrongAnswer, c.host, state.DidResume)
	}
	c.has = c.resumes
	return nil
}
