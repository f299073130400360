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
	// Judge are certificates that became or ceased to be valid by Now.
	Judge []model.Credential
	Now   time.Time
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
	// Requested are names for which a certificate is wanted because clients asked
	// for them; false takes one away. Those that no issuer covers rest.
	Requested map[string]bool
}

// Learn takes facts and returns what they change.
func (c *Compiler) Learn(facts ...Facts) Result {
	for _, f := range facts {
		c.rules.learn(f)
	}
	return c.settle(nil)
}

func (rs *rules) learn(f Facts) {
	for _, key := range f.Judge {
		rs.moments.Set(key, f.Now)
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
	rs.request(f.Requested)
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
	// Issuers are wildcards below which a name that a client asks for may become
	// [Facts.Requested].
	Issuers []model.Issuer
}

// Wants returns what the compiler would like to know. It is the same pointer as
// long as nothing changes.
func (c *Compiler) Wants() *Wants { return c.rules.wants.Value(none{}) }

// gatherWants collects what the resources in use wait for.
func (rs *rules) gatherWants(rd *graph.Reader, _ none) *Wants {
	w := &Wants{Files: rs.fileNames.Read(rd, none{})}
	http := len(rs.httpBinds.Read(rd, none{})) > 0
	for _, h := range rs.managedHosts.Read(rd, none{}) {
		w.Managed = append(w.Managed, model.ManagedHost{Host: h, HTTP: http})
	}
	rs.gatherIssuance(rd, w, http)
	return w
}

func (w *Wants) equal(o *Wants) bool {
	if w == nil || o == nil {
		return w == o
	}
	return slices.Equal(w.Files, o.Files) && slices.Equal(w.Managed, o.Managed) &&
		slices.EqualFunc(w.Issuers, o.Issuers, model.Issuer.Equal)
}

// notePair keeps that the pair of a server may have changed; it follows both what
// a credential holds and whether a server uses it.
func (rs *rules) notePair(key model.Credential) { rs.notedPairs[key] = true }

// judgeNoted has the pairs that may have changed judged by the present.
func (rs *rules) judgeNoted(now time.Time) {
	for key := range rs.notedPairs {
		if rs.certificate.Has(key) {
			rs.moments.Set(key, now)
		} else {
			rs.moments.Set(key, time.Time{})
		}
	}
}

// takePairs returns the pairs of servers that changed since the last call; nil is
// one that is no longer used.
func (rs *rules) takePairs() map[model.Credential]*tls.Certificate {
	out := map[model.Credential]*tls.Certificate{}
	for key := range rs.notedPairs {
		out[key] = nil
		if rs.certificate.Has(key) {
			out[key] = rs.credential.Value(key).pair
		}
	}
	clear(rs.notedPairs)
	return out
}

// copyFacts takes over all that other was told.
func (rs *rules) copyFacts(other *rules) {
	rs.moments.Copy(other.moments)
	rs.files.Copy(other.files)
	rs.managed.Copy(other.managed)
	rs.staples.Copy(other.staples)
	rs.tickets.Copy(other.tickets)
	rs.requested.Copy(other.requested)
}
