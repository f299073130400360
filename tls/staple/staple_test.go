package staple

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/ocsp"
)

const responderURL = "http://ocsp.example.com/status/"

// bubble runs a test on a fake clock with one responder.
func bubble(t *testing.T, f func(t *testing.T, a *authority, o Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		f(t, a, Options{Client: &http.Client{Transport: direct{a}}, Dir: filepath.Join(t.TempDir(), "staples")})
	})
}

func TestRefreshAtHalfOfTheValidity(t *testing.T) {
	bubble(t, func(t *testing.T, a *authority, o Options) {
		r := start(t, o)
		c := a.leaf(7, responderURL)
		r.Want([]Certificate{{"c", c.pem()}})
		began := time.Now()
		var last []byte
		for i := range 4 {
			got := (<-r.out)["c"]
			resp := must[*ocsp.Response](t)(ocsp.ParseResponseForCert(got, c.leaf, c.issuer))
			if resp.Status != ocsp.Good || bytes.Equal(got, last) {
				t.Errorf("staple %d is the same again, or not good", i)
			}
			if at := time.Since(began); at != time.Duration(i)*2*time.Hour {
				t.Errorf("staple %d came after %v", i, at)
			}
			last = got
		}
		if n := a.times(); n != 4 {
			t.Errorf("the responder was asked %d times", n)
		}
		r.end()
	})
}

func TestJitter(t *testing.T) {
	for rand, want := range map[float64]time.Duration{0: 108 * time.Minute, 0.5: 2 * time.Hour, 0.75: 126 * time.Minute} {
		t.Run(fmt.Sprint(rand), func(t *testing.T) {
			bubble(t, func(t *testing.T, a *authority, o Options) {
				o.Rand = func() float64 { return rand }
				r := start(t, o)
				r.Want([]Certificate{{"c", a.leaf(7, responderURL).pem()}})
				<-r.out
				began := time.Now()
				<-r.out
				if at := time.Since(began); at != want {
					t.Errorf("after %v, want %v", at, want)
				}
				r.end()
			})
		})
	}
}

// A responder whose answers are old already is not asked all the time.
func TestOldAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, a *authority, o Options) {
		produced := time.Now()
		a.answering(func(serial *big.Int) ([]byte, error) {
			return a.respond(ocsp.Response{Status: ocsp.Good, SerialNumber: serial, ThisUpdate: produced, NextUpdate: produced.Add(4 * time.Hour)}), nil
		})
		<-time.After(3 * time.Hour)
		r := start(t, o)
		r.Want([]Certificate{{"c", a.leaf(7, responderURL).pem()}})
		if got := <-r.out; got["c"] == nil {
			t.Error("no staple")
		}
		<-time.After(50 * time.Minute)
		synctest.Wait()
		if n := a.times(); n != 3 { // at 3:00, 3:30 and 3:45
			t.Errorf("asked %d times in 50 minutes", n)
		}
		r.end()
	})
}

// While a responder gives nothing the staple stays, until it expires; pauses
// grow; then all is well again.
func TestResponderFails(t *testing.T) {
	bubble(t, func(t *testing.T, a *authority, o Options) {
		r := start(t, o)
		r.Want([]Certificate{{"c", a.leaf(7, responderURL).pem()}})
		<-r.out
		began := time.Now()
		a.fails()
		got := <-r.out
		if staple, told := got["c"]; !told || staple != nil {
			t.Errorf("came %v", got)
		}
		// A hundredth of the validity before its end, but a minute at most.
		if at := time.Since(began); at != 4*time.Hour-time.Minute {
			t.Errorf("given up after %v", at)
		}
		// Two hours before: after 10 s, 20 s … 2,560 s and then each hour.
		if n := a.times(); n < 10 || n > 13 {
			t.Errorf("asked %d times", n)
		}
		if !strings.Contains(r.log.String(), "it answered with status 500") || !strings.Contains(r.log.String(), "staple has expired") {
			t.Errorf("logged is %s", r.log)
		}
		if n := strings.Count(r.log.String(), "staple has expired"); n != 1 {
			t.Errorf("the end is logged %d times", n)
		}
		a.says(good, 4*time.Hour)
		if got := <-r.out; got["c"] == nil {
			t.Errorf("came %v", got)
		}
		r.end()
	})
}

func TestRevoked(t *testing.T) {
	bubble(t, func(t *testing.T, a *authority, o Options) {
		r := start(t, o)
		c := a.leaf(7, responderURL)
		r.Want([]Certificate{{"c", c.pem()}})
		<-r.out
		a.says(revoked, 4*time.Hour)
		if got := <-r.out; got["c"] != nil {
			t.Errorf("came %v", got)
		}
		<-time.After(12 * time.Hour)
		if n := strings.Count(r.log.String(), "certificate is revoked"); n != 1 {
			t.Errorf("logged %d times: %s", n, r.log)
		}
		if list := must[[]os.DirEntry](t)(os.ReadDir(o.Dir)); len(list) > 0 {
			t.Errorf("on disk is %v", list)
		}
		r.end()
		// One that is revoked from the start never has a staple.
		r = start(t, o)
		r.Want([]Certificate{{"c", c.pem()}})
		synctest.Wait()
		select {
		case got := <-r.out:
			t.Errorf("came %v", got)
		default:
		}
		if !strings.Contains(r.log.String(), "certificate is revoked") {
			t.Errorf("logged is %s", r.log)
		}
		r.end()
	})
}

func TestRestart(t *testing.T) {
	bubble(t, func(t *testing.T, a *authority, o Options) {
		c := []Certificate{{"c", a.leaf(7, responderURL).pem()}}
		r := start(t, o)
		r.Want(c)
		first := (<-r.out)["c"]
		r.end()
		a.times()
		<-time.After(time.Hour)
		a.fails()
		r = start(t, o)
		r.Want(c)
		if got := (<-r.out)["c"]; !bytes.Equal(got, first) {
			t.Error("after a restart came another staple")
		}
		if n := a.times(); n != 0 {
			t.Errorf("the responder was asked %d times", n)
		}
		r.end()
		// What has expired on disk is neither told nor kept.
		<-time.After(4 * time.Hour)
		r = start(t, o)
		r.Want(c)
		synctest.Wait()
		select {
		case got := <-r.out:
			t.Errorf("came %v", got)
		default:
		}
		if list := must[[]os.DirEntry](t)(os.ReadDir(o.Dir)); len(list) > 0 {
			t.Errorf("on disk is %v", list)
		}
		r.end()
	})
}

// What is on disk is believed as little as what comes from the network.
func TestForgedCache(t *testing.T) {
	bubble(t, func(t *testing.T, a *authority, o Options) {
		c, stranger := a.leaf(7, responderURL), newAuthority(t)
		now := time.Now()
		forged := stranger.respond(ocsp.Response{Status: ocsp.Good, SerialNumber: big.NewInt(7), ThisUpdate: now, NextUpdate: now.Add(time.Hour)})
		if err := errors.Join(os.MkdirAll(o.Dir, 0o700), os.WriteFile(cache{o.Dir}.path(c), forged, 0o600)); err != nil {
			t.Fatal(err)
		}
		r := start(t, o)
		r.Want([]Certificate{{"c", c.pem()}})
		if got := (<-r.out)["c"]; got == nil || bytes.Equal(got, forged) {
			t.Error("the forged staple is told, or none")
		}
		if n := a.times(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		r.end()
	})
}

// The set may change while responders are asked.
func TestWantChanges(t *testing.T) {
	bubble(t, func(t *testing.T, a *authority, o Options) {
		hold := make(chan struct{})
		a.answering(func(serial *big.Int) ([]byte, error) {
			<-hold
			now := time.Now()
			return a.respond(ocsp.Response{Status: ocsp.Good, SerialNumber: serial, ThisUpdate: now, NextUpdate: now.Add(time.Hour)}), nil
		})
		r := start(t, o)
		one, two := Certificate{"1", a.leaf(1, responderURL).pem()}, Certificate{"2", a.leaf(2, responderURL).pem()}
		r.Want([]Certificate{one})
		synctest.Wait()
		r.Want([]Certificate{two})
		synctest.Wait()
		close(hold)
		if got := <-r.out; len(got) != 1 || got["2"] == nil {
			t.Errorf("came %v", got)
		}
		r.Want([]Certificate{one, two, two})
		if got := <-r.out; len(got) != 1 || got["1"] == nil {
			t.Errorf("came %v", got)
		}
		// Wanted again, it is told again, from disk.
		r.Want(nil)
		synctest.Wait()
		a.times()
		r.Want([]Certificate{two})
		if got := <-r.out; len(got) != 1 || got["2"] == nil || a.times() != 0 {
			t.Errorf("came %v", got)
		}
		r.end()
	})
}

// Certificates about which nobody can be asked are passed over.
func TestPassedOver(t *testing.T) {
	bubble(t, func(t *testing.T, a *authority, o Options) {
		c := a.leaf(7, responderURL)
		alone := c.pem()[:bytes.LastIndex(c.pem(), []byte("-----BEGIN"))]
		r := start(t, o)
		r.Want([]Certificate{
			{"no issuer", alone},
			{"another issuer", append(bytes.Clone(alone), newAuthority(t).leaf(1, responderURL).pem()...)},
			{"no responder", a.leaf(8, "ldap://ocsp.example.com/").pem()},
			{"nothing", nil},
			{"good", c.pem()},
		})
		if got := <-r.out; len(got) != 1 || got["good"] == nil {
			t.Errorf("came %v", got)
		}
		if n := a.times(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		r.end()
	})
}

// One responder that hangs keeps none of the others waiting for longer than its
// own limit, and no more than a few are asked at once.
func TestResponderHangs(t *testing.T) {
	bubble(t, func(t *testing.T, a *authority, o Options) {
		started := make(chan struct{}, 100)
		o.Client.Transport = direct{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "hangs.example.com" {
				started <- struct{}{}
				<-r.Context().Done()
				return
			}
			a.ServeHTTP(w, r)
		})}
		r := start(t, o)
		var certs []Certificate
		for i := range 6 {
			certs = append(certs, Certificate{fmt.Sprintf("a%d", i), a.leaf(int64(i), "http://hangs.example.com/").pem()})
		}
		r.Want(append(certs, Certificate{"b", a.leaf(9, responderURL).pem()}))
		began := time.Now()
		synctest.Wait()
		if n := len(started); n != atOnce {
			t.Errorf("%d are asked at once", n)
		}
		if got := <-r.out; got["b"] == nil {
			t.Errorf("came %v", got)
		}
		if took := time.Since(began); took > fetchLimit {
			t.Errorf("took %v", took)
		}
		if !strings.Contains(r.log.String(), "deadline exceeded") {
			t.Errorf("logged is %s", r.log)
		}
		r.end() // while some hang
	})
}

func TestMetrics(t *testing.T) {
	bubble(t, func(t *testing.T, a *authority, o Options) {
		registry := prometheus.NewPedanticRegistry()
		o.Registerer = registry
		r := start(t, o)
		r.Want([]Certificate{{"c", a.leaf(7, responderURL).pem()}, {"d", a.leaf(8, responderURL).pem()}})
		for told := 0; told < 2; {
			told += len(<-r.out)
		}
		a.fails()
		<-time.After(2*time.Hour + time.Second)
		synctest.Wait()
		got := map[string]float64{}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				got[f.GetName()+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
		want := map[string]float64{
			"sluice_ocsp_answers_total error": 2, "sluice_ocsp_answers_total good": 2,
			"sluice_ocsp_certificates missing": 0, "sluice_ocsp_certificates revoked": 0, "sluice_ocsp_certificates stapled": 2,
		}
		if !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		r.end()
	})
}

// A folder that cannot be used costs the memory of a restart, nothing else.
func TestFolderThatCannotBeUsed(t *testing.T) {
	bubble(t, func(t *testing.T, a *authority, o Options) {
		if err := os.WriteFile(o.Dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r := start(t, o)
		r.Want([]Certificate{{"c", a.leaf(7, responderURL).pem()}})
		if got := <-r.out; got["c"] == nil {
			t.Errorf("came %v", got)
		}
		if !strings.Contains(r.log.String(), "not kept on disk") {
			t.Errorf("logged is %s", r.log)
		}
		r.end()
	})
}
