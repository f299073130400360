package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/sluicegw/sluice/compile"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/status"
	"github.com/sluicegw/sluice/tls"
	"github.com/sluicegw/sluice/tls/acme"
	"github.com/sluicegw/sluice/tls/ondemand"
	"github.com/sluicegw/sluice/tls/pemfile"
	"github.com/sluicegw/sluice/tls/staple"
	"github.com/sluicegw/sluice/tls/ticket"
)

// certificates brings to the compiler what it wants to know of TLS and objects do
// not hold: files, automatic certificates, OCSP staples, ticket keys, the time.
type certificates struct {
	mail    *mailbox
	files   *pemfile.Source
	staples *staple.Keeper
	tickets *ticket.Rotation
	acme    *acme.Manager
	gate    *ondemand.Gate
	pairs   *pairs

	// Of the pipeline's goroutine: what was told already.
	toldFiles, toldHosts map[string]bool
	started              bool
	// decline tells proxies that a name has no certificate; set before run.
	decline func(name string)

	mu      sync.Mutex
	waiting []awaited         // by generation
	reached status.Generation // live on every proxy
}

// awaited are the hosts whose challenges are answered once a generation is live.
type awaited struct {
	generation status.Generation
	hosts      []model.ManagedHost
}

// certificateOptions is what the parts are made of.
type certificateOptions struct {
	dataDir    string
	ticketDir  string
	acme       acme.Options
	askURL     string
	registerer prometheus.Registerer
	log        *slog.Logger
}

func newCertificates(o certificateOptions) (*certificates, error) {
	c := &certificates{mail: newMailbox(), pairs: newPairs(), toldFiles: map[string]bool{}, toldHosts: map[string]bool{}}
	c.files = pemfile.New(pemfile.Options{Log: o.log})
	c.staples = staple.New(staple.Options{Dir: filepath.Join(o.dataDir, "ocsp"), Now: time.Now, Log: o.log, Registerer: o.registerer})
	c.tickets = ticket.New(ticket.Options{Dir: o.ticketDir, Now: time.Now, Log: o.log})
	c.gate = ondemand.New(ondemand.Options{
		AskURL: o.askURL, Log: o.log, OnDecline: func(name string) { c.decline(name) },
		OnWant: func(names map[string]bool) { c.mail.put(compile.Facts{Requested: names}) },
	})
	o.acme.Log, o.acme.Registerer, o.acme.OnChange, o.acme.OnFailure = o.log, o.registerer, c.takeManaged, c.gate.Failed
	acme.SetUserAgent("sluice/" + versionString())
	var err error
	if c.acme, err = acme.New(o.acme); err != nil {
		return nil, fmt.Errorf("prepare automatic certificates: %w", err)
	}
	o.registerer.MustRegister(c)
	return c, nil
}

// takeManaged passes on certificates that were signed, and those that are no
// longer good.
func (c *certificates) takeManaged(changed map[string]*model.ManagedCertificate, removed []string) {
	f := compile.Facts{Managed: map[string]*model.ManagedCertificate{}}
	for host, m := range changed {
		f.Managed[host] = m
	}
	for _, host := range removed {
		f.Managed[host] = nil
	}
	c.mail.put(f)
}

// prepare returns what is known at once of what the compiler newly wants: files
// and certificates of hosts that it has not heard of. It is called by the
// pipeline.
func (c *certificates) prepare(w *compile.Wants) compile.Facts {
	f := compile.Facts{Files: map[string]compile.File{}, Managed: map[string]*model.ManagedCertificate{}}
	if !c.started {
		c.started = true
		keys, err := c.tickets.Keys()
		if err == nil {
			f.Tickets = keys
		} // without keys of ours, each Envoy makes its own
	}
	for path := range c.toldFiles {
		if _, wanted := slices.BinarySearch(w.Files, path); !wanted {
			delete(c.toldFiles, path)
		}
	}
	for _, path := range w.Files {
		if !c.toldFiles[path] {
			c.toldFiles[path] = true
			f.Files[path] = fileOf(pemfile.Load(path))
		}
	}
	c.loadManaged(w, f.Managed)
	return f
}

func (c *certificates) loadManaged(w *compile.Wants, into map[string]*model.ManagedCertificate) {
	hosts := make([]string, len(w.Managed))
	wanted := map[string]bool{}
	for i, h := range w.Managed {
		hosts[i], wanted[h.Host] = h.Host, true
	}
	if maps.Equal(wanted, c.toldHosts) {
		return // storage may be slow, and changes of other things need not wait
	}
	told := c.toldHosts
	c.toldHosts = wanted
	for host := range told {
		if !wanted[host] {
			into[host] = nil
		}
	}
	found := make(chan map[string]*model.ManagedCertificate, 1)
	go func() {
		f := map[string]*model.ManagedCertificate{}
		for host, m := range c.acme.Load(context.Background(), hosts) {
			if !told[host] {
				f[host] = m
			}
		}
		found <- f
	}()
	select {
	case f := <-found:
		maps.Copy(into, f)
	case <-time.After(storagePatience):
		go func() { c.mail.put(compile.Facts{Managed: <-found}) }()
	}
}

// storagePatience is how long a change of the configuration waits for certificates
// that a storage holds; what comes later is served later.
const storagePatience = 2 * time.Second

func fileOf(f pemfile.File) compile.File { return compile.File{Content: f.Bytes, Err: f.Err} }

// want takes what the compiler wants to know from a generation on.
func (c *certificates) want(w compile.Wants, g status.Generation) {
	c.files.Want(w.Files)
	c.gate.Rule(w.Issuers)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.waiting); n == 0 || !slices.Equal(c.waiting[n-1].hosts, w.Managed) {
		c.waiting = append(c.waiting, awaited{g, w.Managed})
	}
	c.order()
}

// show takes the certificates of servers that changed.
func (c *certificates) show(changed map[model.Credential]*tls.Certificate) {
	for key, pair := range changed {
		switch {
		case key.Managed == "":
		case pair != nil:
			c.gate.Issued(key.Managed)
		default:
			c.gate.Lost(key.Managed)
		}
	}
	if stapled, other := c.pairs.take(changed, time.Now()); other {
		c.staples.Want(stapled)
	}
}

// live starts the orders of hosts whose challenges every proxy hands on by now.
func (c *certificates) live(g status.Generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reached = max(c.reached, g)
	c.order()
}

func (c *certificates) order() {
	last := -1
	for i, a := range c.waiting {
		if a.generation <= c.reached {
			last = i
		}
	}
	if last < 0 {
		return
	}
	c.acme.Want(c.waiting[last].hosts)
	c.waiting = c.waiting[last+1:]
}

// run runs all parts until ctx ends.
func (c *certificates) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	files, staples, tickets := make(chan pemfile.Contents), make(chan map[string][]byte), make(chan [][]byte)
	group.Go(func() error { return c.files.Run(ctx, files) })
	group.Go(func() error { return c.staples.Run(ctx, staples) })
	group.Go(func() error { return c.tickets.Run(ctx, tickets) })
	group.Go(func() error { return c.acme.Run(ctx) })
	group.Go(func() error { return c.gate.Run(ctx) })
	group.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case contents := <-files:
				f := compile.Facts{Files: map[string]compile.File{}}
				for path, content := range contents {
					f.Files[path] = fileOf(content)
				}
				c.mail.put(f)
			case s := <-staples:
				c.mail.put(compile.Facts{Staples: s})
			case keys := <-tickets:
				c.mail.put(compile.Facts{Tickets: keys})
			}
		}
	})
	return group.Wait()
}

// certificateDocument is one certificate in GET /certificates.
type certificateDocument struct {
	Host     string     `json:"host"`
	Source   string     `json:"source"` // "acme", "Secret namespace/name", "file path"
	State    string     `json:"state"`
	Issuer   string     `json:"issuer,omitempty"`
	NotAfter *time.Time `json:"notAfter,omitempty"`
	Renewal  *time.Time `json:"renewal,omitempty"`
	Error    string     `json:"error,omitempty"`
	NextTry  *time.Time `json:"nextTry,omitempty"`
}

// troubled returns the automatic certificates that are not in order.
func (c *certificates) troubled() (out []certificateDocument) {
	for _, s := range c.acme.Status() {
		if s.State != acme.StateValid {
			out = append(out, managedDocument(s))
		}
	}
	return out
}

func managedDocument(s acme.HostStatus) certificateDocument {
	return certificateDocument{
		Host: s.Host, Source: "acme", State: string(s.State), Issuer: s.Issuer,
		NotAfter: timeOrNil(s.NotAfter), Renewal: timeOrNil(s.Renewal), Error: s.Error, NextTry: timeOrNil(s.NextTry),
	}
}

// documents returns every certificate that is served or waited for.
func (c *certificates) documents() []certificateDocument {
	out := []certificateDocument{}
	for _, s := range c.acme.Status() {
		out = append(out, managedDocument(s))
	}
	for _, d := range c.pairs.declared() {
		out = append(out, declaredDocument(d, time.Now()))
	}
	return out
}

func declaredDocument(d declaredPair, now time.Time) certificateDocument {
	valid := d.pair.Validity()
	doc := certificateDocument{
		Host: namesOf(d.pair), Source: d.source, State: "valid", Issuer: d.pair.Issuer(), NotAfter: &valid.NotAfter,
	}
	switch {
	case !now.Before(valid.NotAfter):
		doc.State = "expired"
	case now.Before(valid.NotBefore):
		doc.State = "not yet valid"
	}
	return doc
}

// namesOf returns the names of a certificate as a person wants to see them.
func namesOf(pair *tls.Certificate) string {
	names := pair.Names()
	switch len(names) {
	case 0:
		return "-"
	case 1:
		return names[0]
	}
	return fmt.Sprintf("%s (+%d)", names[0], len(names)-1)
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// expiry is the metric of certificates that objects name; those of an authority
// have one of their own.
func expiry() *prometheus.Desc {
	return prometheus.NewDesc("sluice_declared_certificate_expiry_seconds",
		"Unix time at which a certificate that an object names expires.", []string{"source", "host"}, nil)
}

// Describe implements prometheus.Collector.
func (c *certificates) Describe(out chan<- *prometheus.Desc) { out <- expiry() }

// Collect implements prometheus.Collector.
func (c *certificates) Collect(out chan<- prometheus.Metric) {
	for _, d := range c.pairs.declared() {
		out <- prometheus.MustNewConstMetric(expiry(), prometheus.GaugeValue,
			float64(d.pair.Validity().NotAfter.Unix()), d.source, namesOf(d.pair))
	}
}
