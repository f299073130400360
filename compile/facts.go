package compile

import (
	"bytes"
	"slices"
	"time"

	"github.com/sluicegw/sluice/compile/graph"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/tls"
)

// Facts are what resources depend on beside declared objects. Zero fields say
// nothing new.
type Facts struct {
	// Now is the time by which certificates are judged.
	Now time.Time
	// Files are files that objects name, by path; see [Wants.Files].
	Files map[string]File
	// Managed are certificates that an ACME authority signed, by host; nil takes
	// one away.
	Managed map[string]*model.ManagedCertificate
	// Staples are OCSP responses in DER, by [tls.Certificate.ID]; nil takes one
	// away.
	Staples map[string][]byte
	// Tickets are the keys of session tickets: the first encrypts, the others
	// decrypt.
	Tickets [][]byte
}

// Learn takes facts and returns what they change.
func (c *Compiler) Learn(facts ...Facts) Result {
	for _, f := range facts {
		c.rules.learn(f)
	}
	return c.settle(nil)
}

func (rs *rules) learn(f Facts) {
	if !f.Now.IsZero() {
		rs.clock.Set(none{}, f.Now)
	}
	for path, file := range f.Files {
		rs.setFile(path, file)
	}
	for host, m := range f.Managed {
		rs.managed.Set(host, m)
	}
	for id, staple := range f.Staples {
		rs.staples.Set(id, string(staple))
	}
	if f.Tickets != nil {
		rs.tickets.Set(none{}, string(bytes.Join(f.Tickets, nil)))
	}
}

// setFile keeps what a file held before: a pair of files is never replaced in
// one moment.
func (rs *rules) setFile(path string, f File) {
	if old := rs.files.Get(path); old != nil {
		f.before = old.Content
		if old.Err != "" || bytes.Equal(old.Content, f.Content) {
			f.before = old.before
		}
	}
	rs.files.Set(path, &f)
}

// Wants is what the compiler would like to know; see [Facts]. Slices are sorted.
type Wants struct {
	// Files are paths of files that objects name.
	Files []string
	// Managed are hosts that want a certificate of an ACME authority.
	Managed []model.ManagedHost
	// Stapled are certificates with an OCSP responder.
	Stapled []*tls.Certificate
	// Declared are the certificates that objects name, as far as there are any.
	Declared []Declared
	// Due is when a certificate next begins or ends to be valid; zero if none does.
	Due time.Time
}

// Declared is a certificate that an object names.
type Declared struct {
	Credential model.Credential
	Pair       *tls.Certificate
}

// Wants returns what the compiler would like to know. It is the same pointer as
// long as nothing changes.
func (c *Compiler) Wants() *Wants {
	return c.rules.wants.Value(none{})
}

// gatherWants collects what the resources in use wait for.
func (rs *rules) gatherWants(rd *graph.Reader, _ none) *Wants {
	w := &Wants{Files: rs.fileNames.Read(rd, none{})}
	http := len(rs.httpBinds.Read(rd, none{})) > 0
	for _, h := range rs.managedHosts.Read(rd, none{}) {
		w.Managed = append(w.Managed, model.ManagedHost{Host: h, HTTP: http})
	}
	now := rs.clock.Read(rd, none{})
	for _, pair := range rs.pairs.Read(rd, none{}) {
		c := rs.credential.Read(rd, pair).pair
		if c == nil {
			continue
		}
		if pair.Managed == "" {
			w.Declared = append(w.Declared, Declared{pair, c})
		}
		if c.Responder() != "" {
			w.Stapled = append(w.Stapled, c)
		}
		for _, at := range []time.Time{c.Validity().NotBefore, c.Validity().NotAfter} {
			if at.After(now) && (w.Due.IsZero() || at.Before(w.Due)) {
				w.Due = at
			}
		}
	}
	slices.SortFunc(w.Stapled, func(a, b *tls.Certificate) int { return bytes.Compare([]byte(a.ID()), []byte(b.ID())) })
	w.Stapled = slices.CompactFunc(w.Stapled, func(a, b *tls.Certificate) bool { return a.ID() == b.ID() })
	return w
}

func (w *Wants) equal(o *Wants) bool {
	if w == nil || o == nil {
		return w == o
	}
	return slices.Equal(w.Files, o.Files) && slices.Equal(w.Managed, o.Managed) && w.Due.Equal(o.Due) &&
		slices.EqualFunc(w.Declared, o.Declared, func(a, b Declared) bool { return a.Credential == b.Credential && a.Pair.ID() == b.Pair.ID() }) &&
		slices.EqualFunc(w.Stapled, o.Stapled, func(a, b *tls.Certificate) bool { return a.ID() == b.ID() })
}

// copyFacts takes over all that other was told.
func (rs *rules) copyFacts(other *rules) {
	rs.clock.Copy(other.clock)
	rs.files.Copy(other.files)
	rs.managed.Copy(other.managed)
	rs.staples.Copy(other.staples)
	rs.tickets.Copy(other.tickets)
}
