package loadtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// holdConnections is how many connections are held open while certificates
	// change.
	holdConnections = 50
	// afterDrain is when a connection that an update drains is certainly closed;
	// see the drain time in lab.start.
	afterDrain = 1500 * time.Millisecond
	// pollNewEvery is how often a client asks for a host that is to come: a refusal
	// costs the proxy more than an answer, and should not slow down what is
	// measured.
	pollNewEvery = 5 * time.Millisecond
	// showSettle bounds the wait for one certificate; among ten thousand hosts the
	// first may take long.
	showSettle = time.Minute
)

// runCertificates measures many hosts of HTTPS on one port: from the start until
// all show their certificates, new hosts, new certificates, and what clients that
// ask for names that are not there cost.
func runCertificates(ctx context.Context, l *lab) (measures, error) {
	w, err := newSecureWorld(l.world)
	if err != nil {
		return nil, err
	}
	for i := range l.options.Hosts {
		if err := w.certify(i); err != nil {
			return nil, err
		}
		// In place of the file of the plain host.
		if err := l.disk.write([]file{w.secretFile(i), w.hostFile(i)}); err != nil {
			return nil, err
		}
	}
	l.note("%d certificates are signed", l.options.Hosts)
	m, err := l.loadSecure(ctx, w)
	if err != nil {
		return nil, err
	}
	h, err := w.hold(ctx, l.options.Hosts)
	defer h.close()
	if err != nil {
		return nil, err
	}
	for _, phase := range []struct {
		name string
		run  func() (measures, error)
	}{
		{"add", func() (measures, error) { return l.changeSecure(ctx, w, l.addSecure(w)) }},
		{"rotate", func() (measures, error) { return l.changeSecure(ctx, w, l.rotateSecure(w, h)) }},
		{"unknown", func() (measures, error) { return l.strange(ctx, w) }},
	} {
		got, err := phase.run()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", phase.name, err)
		}
		if err := pause(ctx, afterDrain); err != nil {
			return nil, err
		}
		dropped := float64(h.dropped(ctx))
		for name, v := range got {
			m[phase.name+"_"+name] = v
		}
		m[phase.name+"_dropped"] = dropped
		m["dropped"] += dropped
		m["wrong"] += got["wrong"]
		l.note("%s: p50 %.1f ms, %v connections dropped", phase.name, got["p50_ms"], dropped)
	}
	return m, nil
}

// loadSecure measures from exec until every host has shown its certificate, and
// the memory afterwards.
func (l *lab) loadSecure(ctx context.Context, w *secureWorld) (measures, error) {
	began := time.Now()
	if err := l.start(ctx); err != nil {
		return nil, err
	}
	m := measures{"ready_seconds": time.Since(began).Seconds()}
	const workers = 4
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for n := range workers {
		wg.Go(func() {
			for i := n; i < l.options.Hosts && errs[n] == nil; i += workers {
				_, errs[n] = l.firstShown(ctx, w, greeting{host: i, at: began, every: pollNewEvery})
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	m["usable_seconds"] = time.Since(began).Seconds()
	l.note("%d hosts show their certificates", l.options.Hosts)
	return l.withMemory(m)
}

func (l *lab) withMemory(m measures) (measures, error) {
	pid, err := envoyOf(l.sluice.pid())
	if err != nil {
		return nil, err
	}
	mem, err := l.memory(pid)
	m.add(mem)
	return m, err
}

// greeting is a certificate that a client waits for.
type greeting struct {
	host  int // whose newest certificate it is
	at    time.Time
	every time.Duration
	// before tells whether what is shown, nil for nothing, is right as long as
	// the change has not arrived; nil allows any.
	before func(der []byte) bool
	// answers is the backend that is to answer then; "" does not ask it.
	answers string
}

// firstShown shakes hands with a host, at once and then on every tick on which no
// handshake is under way, until it shows its newest certificate.
func (l *lab) firstShown(ctx context.Context, w *secureWorld, g greeting) (seen, error) {
	ctx, cancel := context.WithTimeout(ctx, showSettle)
	defer cancel()
	tick := time.NewTicker(g.every)
	defer tick.Stop()
	var s seen
	for {
		der, err := w.shown(ctx, hostName(g.host))
		if err == nil && bytes.Equal(der, w.certs[g.host].der) {
			s.after = time.Since(g.at)
			return s, nil
		}
		if g.before != nil && !g.before(der) {
			s.wrong++
		}
		select {
		case <-tick.C:
		case <-l.sluice.ended:
			return s, errEnded
		case <-ctx.Done():
			return s, fmt.Errorf("wait for the certificate of %s: %w", hostName(g.host), errors.Join(err, ctx.Err()))
		}
	}
}

// addSecure returns what adds the next host: its Secret, then its Gateway and
// routes.
func (l *lab) addSecure(w *secureWorld) func() (greeting, error) {
	return func() (greeting, error) {
		i := l.world.addHost()
		if err := w.certify(i); err != nil {
			return greeting{}, err
		}
		at, err := l.disk.replace(w.secretFile(i))
		if err != nil {
			return greeting{}, err
		}
		_, err = l.disk.replace(w.hostFile(i))
		return greeting{
			host: i, at: at, every: pollNewEvery, answers: l.world.backendOf(i),
			before: func(der []byte) bool { return der == nil },
		}, err
	}
}

// rotateSecure returns what gives the next of the hosts that have a held
// connection a new certificate.
func (l *lab) rotateSecure(w *secureWorld, h *held) func() (greeting, error) {
	n := 0
	return func() (greeting, error) {
		i := h.hosts[n%len(h.hosts)]
		n++
		old := w.certs[i].der
		if err := w.certify(i); err != nil {
			return greeting{}, err
		}
		at, err := l.disk.replace(w.secretFile(i))
		return greeting{
			host: i, at: at, every: pollEvery,
			before: func(der []byte) bool { return bytes.Equal(der, old) },
		}, err
	}
}

// changeSecure makes options.Edits changes, one after the other, and waits for
// each.
func (l *lab) changeSecure(ctx context.Context, w *secureWorld, next func() (greeting, error)) (measures, error) {
	return l.counted(ctx, l.options.Edits, func() (measures, error) {
		shown, answered, wrong := newHistogram(), newHistogram(), 0
		for range l.options.Edits {
			g, err := next()
			if err != nil {
				return nil, err
			}
			s, err := l.firstShown(ctx, w, g)
			if err != nil {
				return nil, err
			}
			shown.add(s.after)
			wrong += s.wrong
			if g.answers != "" {
				if s, err = l.firstAnswer(ctx, w, g); err != nil {
					return nil, err
				}
				answered.add(s.after)
			}
			if err := pause(ctx, breath); err != nil {
				return nil, err
			}
		}
		m := shown.measures("")
		m["wrong"] = float64(wrong)
		if answered.h.TotalCount() > 0 {
			m.add(answered.measures("answer_"))
		}
		return m, nil
	})
}

// firstAnswer waits until a host that shows its certificate answers too.
func (l *lab) firstAnswer(ctx context.Context, w *secureWorld, g greeting) (seen, error) {
	c := w.client(g.host)
	defer c.reset()
	return l.firstRight(ctx, c, change{at: g.at, host: hostName(g.host), want: g.answers, every: g.every})
}

// held are connections that stay open while certificates change, each to a host of
// its own.
type held struct {
	hosts   []int
	clients []*client
}

// hold opens connections to hosts all over the world. What it returns is to be
// closed, with an error too.
func (w *secureWorld) hold(ctx context.Context, hosts int) (*held, error) {
	h := &held{}
	n := min(holdConnections, hosts)
	for k := range n {
		i := k * hosts / n
		c := w.client(i)
		h.hosts, h.clients = append(h.hosts, i), append(h.clients, c)
		if err := expect(ctx, c, page{hostName(i), "/"}, w.world.backendOf(i)); err != nil {
			return h, fmt.Errorf("open a connection to be held: %w", err)
		}
	}
	return h, nil
}

// dropped asks on every connection, and returns how many were closed or are about
// to be. Those are opened anew.
func (h *held) dropped(ctx context.Context) int {
	lost := 0
	for n, c := range h.clients {
		a, err := c.ask(ctx, hostName(h.hosts[n]))
		if err != nil || a.code != 200 || c.conn == nil {
			lost++
			_, _ = c.ask(ctx, hostName(h.hosts[n])) // counted the next time
		}
	}
	return lost
}

func (h *held) close() {
	for _, c := range h.clients {
		c.close()
	}
}
