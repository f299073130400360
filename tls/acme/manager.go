package acme

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/sluicegw/sluice/model"
)

// orderLimit is how many orders and questions are under way at once.
const orderLimit = 16

// errStopped is what ends all work.
var errStopped = errors.New("automatic certificates are stopped")

// Manager looks after the certificates of hosts. Its methods may be called at the
// same time.
type Manager struct {
	options    Options
	issuers    []*issuer
	byKey      map[string]*issuer
	cache      *certmagic.Cache // empty; certmagic wants one
	challenges *challenges
	metrics    *metrics
	slots      chan struct{}
	wake       chan struct{}
	work       sync.WaitGroup

	// reading is held while storage is looked at and changes are told.
	reading sync.Mutex
	shelf   *shelf
	trouble bool // storage could not be read

	mu     sync.Mutex
	hosts  map[string]*host
	life   context.Context // ends with the Manager
	end    context.CancelFunc
	closed bool
}

// New opens the ports for challenges. Nothing is read, ordered or answered before
// Load, Want and Run; Run also closes what New opened.
func New(o Options) (*Manager, error) {
	if err := checkOptions(o); err != nil {
		return nil, err
	}
	o = o.defaults()
	m := &Manager{
		options: o, byKey: map[string]*issuer{}, hosts: map[string]*host{},
		slots: make(chan struct{}, orderLimit), wake: make(chan struct{}, 1),
	}
	m.life, m.end = context.WithCancel(context.Background())
	var err error
	if m.challenges, err = listen(); err != nil {
		return nil, err
	}
	m.challenges.known = m.known
	log := zapLogger(o.Log)
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return nil, errStopped },
		Logger:           log,
	})
	shop := workshop{options: o, cache: m.cache, log: log, http: m.HTTPAddress(), tls: m.TLSALPNAddress(), onEvent: event}
	if m.issuers, m.challenges.answer, err = shop.issuers(); err == nil {
		m.metrics, err = newMetrics(m, o.Registerer)
	}
	if err != nil {
		m.cache.Stop()
		return nil, errors.Join(err, m.challenges.close())
	}
	m.shelf = &shelf{storage: o.Storage}
	for _, i := range m.issuers {
		m.byKey[i.key] = i
		m.shelf.keys = append(m.shelf.keys, i.key)
	}
	return m, nil
}

// HTTPAddress is where HTTP-01 challenges are answered.
func (m *Manager) HTTPAddress() netip.AddrPort { return address(m.challenges.http) }

// TLSALPNAddress is where TLS-ALPN-01 challenges are answered.
func (m *Manager) TLSALPNAddress() netip.AddrPort { return address(m.challenges.tls) }

// Run answers challenges, looks at storage and orders what is wanted, until ctx
// ends. It may be called once; nothing of the Manager runs after it.
func (m *Manager) Run(ctx context.Context) error {
	defer m.cache.Stop()
	stop := context.AfterFunc(ctx, m.end)
	defer stop()
	var serving sync.WaitGroup
	serving.Go(func() { m.challenges.serve(m.life) })
	m.look(m.life)
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.work.Wait()
	serving.Wait()
	m.metrics.close()
	return nil
}

// look is the one loop: storage, then what is due.
func (m *Manager) look(ctx context.Context) {
	tick := time.NewTicker(m.options.PollInterval)
	defer tick.Stop()
	for {
		m.refresh(ctx, m.names(), refreshment{tell: true})
		for more := true; more; {
			m.startDue()
			select {
			case <-ctx.Done():
				return
			case <-m.wake:
				m.refresh(ctx, m.unread(), refreshment{tell: true})
			case <-tick.C:
				more = false
			}
		}
	}
}

// Load names all hosts that the configuration knows, and returns the certificates
// that storage has for them: those are served whether the hosts are wanted or not.
// It asks no authority. It may be called again with other hosts; those that
// neither Load nor Want names any more are forgotten.
func (m *Manager) Load(ctx context.Context, hosts []string) map[string]*model.ManagedCertificate {
	m.reading.Lock()
	if err := m.shelf.discover(ctx); err != nil {
		m.options.Log.Warn("certificate storage cannot be read", "error", err)
	}
	m.reading.Unlock()
	m.mu.Lock()
	for _, h := range m.hosts {
		h.watched = false
	}
	for _, name := range hosts {
		m.host(name).watched = true
	}
	m.forget()
	m.mu.Unlock()
	m.refresh(ctx, m.unread(), refreshment{})
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]*model.ManagedCertificate{}
	for _, name := range hosts {
		if h := m.hosts[key(name)]; h != nil && h.cert != nil {
			out[name] = h.cert.model()
		}
	}
	return out
}

// Want names all hosts whose challenges reach this process by now. Orders for new
// ones start, those for hosts that left stop. A host that left is served on as
// long as Load names it.
func (m *Manager) Want(hosts []model.ManagedHost) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := map[string]bool{}
	for name, h := range m.hosts {
		before[name], h.wanted = h.wanted, false
	}
	for _, w := range hosts {
		h := m.host(w.Host)
		h.wanted, h.http = true, w.HTTP
	}
	for name, h := range m.hosts {
		if before[name] && !h.wanted && h.cancel != nil {
			h.cancel()
		}
	}
	m.forget()
	m.nudge()
}

// key returns the name under which a host is kept.
func key(name string) string { return strings.ToLower(name) }

// host returns the host called name. The mutex is held.
func (m *Manager) host(name string) *host {
	name = key(name)
	if m.hosts[name] == nil {
		m.hosts[name] = &host{name: name}
	}
	return m.hosts[name]
}

// forget drops the hosts that nobody names. The mutex is held.
func (m *Manager) forget() {
	maps.DeleteFunc(m.hosts, func(_ string, h *host) bool { return !h.watched && !h.wanted && h.busy == nil })
}

// known reports whether challenges for a host are answered.
func (m *Manager) known(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hosts[name] != nil
}

// names returns all hosts, sorted.
func (m *Manager) names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.hosts))
}

// unread returns the hosts for which storage was not looked at yet, sorted.
func (m *Manager) unread() (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, h := range m.hosts {
		if !h.read {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// nudge has the loop look for what is due.
func (m *Manager) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// startDue starts what is due, as far as there are slots: orders in the order of
// their time, then questions.
func (m *Manager) startDue() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.options.Now()
	var due []*host
	at := map[*host]time.Time{}
	for _, h := range m.hosts {
		if next, ok := m.next(h); ok && h.busy == nil && !next.After(now) {
			due, at[h] = append(due, h), next
		}
	}
	slices.SortFunc(due, func(a, b *host) int {
		if c := at[a].Compare(at[b]); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	for _, h := range due {
		if !m.acquire() {
			return
		}
		run := m.claim(m.life, h, false)
		m.spawn(func() { _ = run() }) // the state of the host tells
	}
	for _, h := range m.hosts {
		if !m.asks(h, now) {
			continue
		}
		if !m.acquire() {
			return
		}
		m.spawn(m.question(h))
	}
}

// asks reports whether it is time to ask the authority when it wants a host's
// certificate renewed.
func (m *Manager) asks(h *host, now time.Time) bool {
	if !h.wanted || h.busy != nil || h.asking || h.cert == nil {
		return false
	}
	return h.wish.Print != h.cert.print || !h.wish.Next.After(now)
}

// question claims a host and returns what asks for it. The mutex is held.
func (m *Manager) question(h *host) func() {
	h.asking = true
	c, next := h.cert, m.options.Now().Add(m.options.RenewalInfoInterval)
	return func() {
		w := m.ask(m.life, c, next)
		m.mu.Lock()
		defer m.mu.Unlock()
		h.asking = false
		if h.cert == c {
			h.wish = w
		}
	}
}

// acquire takes one of the slots for work; false if there is none. The mutex is
// held.
func (m *Manager) acquire() bool {
	if m.closed {
		return false
	}
	select {
	case m.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// spawn runs f in the slot that was acquired.
func (m *Manager) spawn(f func()) {
	m.work.Go(func() {
		defer m.nudge()
		defer func() { <-m.slots }()
		f()
	})
}

// Renew orders a new certificate for a host now, whatever the last failure, and
// returns once it is there. The error has the words of the authority.
func (m *Manager) Renew(ctx context.Context, name string) error {
	for {
		m.mu.Lock()
		h := m.hosts[key(name)]
		if h == nil || !h.wanted || m.closed {
			m.mu.Unlock()
			return fmt.Errorf("renew the certificate of %s: the host wants no automatic certificate, or no proxy serves it yet", name)
		}
		if busy := h.busy; busy != nil {
			m.mu.Unlock()
			select {
			case <-busy:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		m.work.Add(1)
		run := m.claim(ctx, h, true)
		m.mu.Unlock()
		defer m.work.Done()
		if err := run(); err != nil {
			return fmt.Errorf("renew the certificate of %s: %w", name, err)
		}
		return nil
	}
}
