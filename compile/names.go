package compile

import (
	"maps"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/tls"
)

// nameEntries are the places of a gateway in the indexes about server names and
// certificates.
type nameEntries struct {
	sni           []entry[sniKey, model.Ref]
	names         []entry[shareKey, string]
	sharedBuckets []entry[bucketKey, string]
	sharing       []entry[none, model.Bind]
	forced        []entry[none, model.Bind]
	httpBinds     []entry[none, model.Bind]
	managedHosts  []entry[none, string]
	isManaged     []entry[string, none]
	pairs         []entry[none, model.Credential]
	fileNames     []entry[none, string]
}

func (rs *rules) nameEntriesOf(gw *model.Gateway) (e nameEntries) {
	for i := range gw.Servers {
		s := &gw.Servers[i]
		switch {
		case s.Protocol.IsHTTP():
			e.httpBinds = append(e.httpBinds, entry[none, model.Bind]{none{}, s.Bind})
		case namesSNI(s):
			e.addServer(gw.Ref, s)
		}
	}
	for _, h := range rs.managedHostsOf(gw) {
		e.managedHosts = append(e.managedHosts, entry[none, string]{none{}, h})
		e.isManaged = append(e.isManaged, entry[string, none]{h, none{}})
		e.pairs = append(e.pairs, entry[none, model.Credential]{none{}, model.Credential{Managed: h}})
	}
	return e
}

func (e *nameEntries) addServer(gw model.Ref, s *model.Server) {
	shared := mayShare(s)
	for _, h := range s.Hosts {
		e.sni = append(e.sni, entry[sniKey, model.Ref]{sniKey{s.Bind, h.DNS}, gw})
		e.names = append(e.names, entry[shareKey, string]{shareKey{s.Bind, shared}, h.DNS})
		if shared {
			e.sharedBuckets = append(e.sharedBuckets, entry[bucketKey, string]{bucketKey{model.Table{Bind: s.Bind}, bucketOf(h.DNS)}, h.DNS})
		}
	}
	if shared {
		e.sharing = append(e.sharing, entry[none, model.Bind]{none{}, s.Bind})
	}
	if s.TLS == nil {
		return
	}
	if s.TLS.Layout == model.ChainLayoutOnDemand {
		e.forced = append(e.forced, entry[none, model.Bind]{none{}, s.Bind})
	}
	for _, c := range s.TLS.Certificates {
		e.pairs = append(e.pairs, entry[none, model.Credential]{none{}, c})
	}
	for _, c := range slices.Concat(s.TLS.Certificates, s.TLS.Authorities) {
		for _, f := range []string{c.CertificateFile, c.KeyFile, c.AuthorityFile, c.CRLFile} {
			if f != "" {
				e.fileNames = append(e.fileNames, entry[none, string]{none{}, f})
			}
		}
	}
}

func (rs *rules) replaceNames(b, a nameEntries) {
	rs.sni.replace(b.sni, a.sni)
	rs.names.replace(b.names, a.names)
	rs.sharedBuckets.replace(b.sharedBuckets, a.sharedBuckets)
	rs.sharing.replace(b.sharing, a.sharing)
	rs.forced.replace(b.forced, a.forced)
	rs.httpBinds.replace(b.httpBinds, a.httpBinds)
	rs.managedHosts.replace(b.managedHosts, a.managedHosts)
	rs.isManaged.replace(b.isManaged, a.isManaged)
	rs.pairs.replace(b.pairs, a.pairs)
	rs.fileNames.replace(b.fileNames, a.fileNames)
}

func compareCredential(a, b model.Credential) int {
	return strings.Compare(credentialOrder(a), credentialOrder(b))
}

func credentialOrder(c model.Credential) string {
	return strings.Join([]string{c.Managed, c.Namespace, c.Name, c.CertificateFile, c.KeyFile, c.AuthorityFile, c.CRLFile}, "\x00")
}

// keepBetter returns v with the content that it takes the place of, if v is a
// Secret that can be used for less than the one before: what was good stays in
// force until the new one is.
func keepBetter(before, v model.Value) model.Value {
	old, ok := before.(*model.Opaque)
	o, both := v.(*model.Opaque)
	if !ok || !both || o.Ref.Kind != "Secret" {
		return v
	}
	content := old.Content
	if old.Before != nil && worse(old.Content, old.Before) {
		content = old.Before
	}
	if !worse(o.Content, content) {
		return v
	}
	kept := *o
	kept.Before = maps.Clone(content)
	return &kept
}

// worse reports whether now lacks a pair or authorities that before has.
func worse(now, before map[string][]byte) bool {
	pair := func(c map[string][]byte) bool { _, err := tls.ParseCertificate(c); return err == nil }
	ca := func(c map[string][]byte) bool { _, err := tls.Authority("", c); return err == nil }
	return !pair(now) && pair(before) || !ca(now) && ca(before)
}
