package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sluicegw/sluice/tls/acme/pebbletest"
)

// shortLife is that of a certificate that is renewed while a test watches. It is
// renewed with a third of it left.
const shortLife = 20 * time.Second

// handshakeLoad opens connections at a rate, whether the ones before are done or
// not, and holds each against the authority. It counts those that go wrong, and
// which certificates are shown.
type handshakeLoad struct {
	*traffic
	mu      sync.Mutex
	serials map[string]int
}

func (s *signing) handshakeLoad(host string, rate int) *handshakeLoad {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &handshakeLoad{
		traffic: &traffic{t: s.t, what: fmt.Sprintf("%d handshakes a second with %s", rate, host), stop: stop}, serials: map[string]int{},
	}
	config := &tls.Config{ServerName: host, RootCAs: s.roots}
	l.done.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		var flying sync.WaitGroup
		for ctx.Err() == nil {
			<-tick.C
			flying.Go(func() {
				serial, err := s.handshake(config)
				if err != nil {
					l.count(err.Error())
					return
				}
				l.count("")
				l.mu.Lock()
				l.serials[serial]++
				l.mu.Unlock()
			})
		}
		flying.Wait()
	})
	return l
}

// handshake returns the serial number of the certificate that is shown.
func (w *world) handshake(config *tls.Config) (serial string, err error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 8 * time.Second}, "tcp", fmt.Sprintf("127.0.0.1:%d", w.port), config)
	if err != nil {
		return "", err
	}
	serial = conn.ConnectionState().PeerCertificates[0].SerialNumber.Text(16)
	return serial, conn.Close()
}

// seen returns the serial numbers so far.
func (l *handshakeLoad) seen() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.serials))
}

// Certificates that live for seconds are renewed without a client that notices:
// when they are due, and when somebody asks for it.
func TestACMERenewalLosesNoHandshake(t *testing.T) { layouts(t, renewalUnderLoad) }

func renewalUnderLoad(t *testing.T, metadata string) {
	s := newSigning(t, reachable{tls: true}, pebbletest.Options{Validity: shortLife})
	s.put("gateway.yaml", secured(metadata, automatic("load.test", "other.test")))
	s.launch().settled()
	s.signed("load.test")
	s.signed("other.test")
	over := s.certificate("load.test").NotAfter
	loads := []*handshakeLoad{s.handshakeLoad("load.test", 25), s.handshakeLoad("other.test", 10)}
	kept := s.mustOpen(s.verified("load.test"))
	for _, l := range loads {
		s.eventually("three certificates by themselves", func() error {
			if n := len(l.seen()); n < 3 {
				return fmt.Errorf("%s: %d certificates", l.what, n)
			}
			return nil
		})
	}
	s.eventually("the end of the first certificate", func() error {
		if time.Now().Before(over) {
			return errNot("over")
		}
		return nil
	})
	by := len(loads[0].seen())
	for range 2 {
		s.succeeds("done", "certificates", "renew", "load.test")
	}
	s.eventually("the certificates of the command", func() error {
		if n := len(loads[0].seen()); n < by+2 {
			return fmt.Errorf("%d certificates, %d before the command", n, by)
		}
		return nil
	})
	for _, l := range loads {
		l.unharmed()
		t.Logf("%s: %d in all, by certificate %v", l.what, l.sent, l.serials)
	}
	if a, err := kept.ask(query{}); err != nil || a.code != 200 {
		t.Errorf("a connection that outlived its certificate answers %d %v", a.code, err)
	}
	s.flawless()
}
