package compile

import (
	"maps"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/compile/graph"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/tls"
)

// nameEntries are the places of a gateway in the indexes about server names and
// certificates.
type nameEntries struct {
	sni           []graph.Entry[sniKey, model.Ref]
	names         []graph.Entry[shareKey, string]
	sharedBuckets []graph.Entry[bucketKey, string]
	sharing       []graph.Entry[none, model.Bind]
	ownGateways   []graph.Entry[model.Bind, model.Ref]
	wildShared    []graph.Entry[model.Bind, string]
	wildGroups    []graph.Entry[model.Table, string]
	quicTables    []graph.Entry[none, model.Table]
	groups        []graph.Entry[model.Bind, model.Table]
	grouped       []graph.Entry[model.Table, string]
	forced        []graph.Entry[none, model.Bind]
	httpBinds     []graph.Entry[none, model.Bind]
	managedHosts  []graph.Entry[none, string]
	isManaged     []graph.Entry[string, none]
	issuers       []graph.Entry[none, string]
	isIssuer      []graph.Entry[string, none]
	fileNames     []graph.Entry[none, string]
}

func (rs *rules) nameEntriesOf(gw *model.Gateway) (e nameEntries) {
	for i := range gw.Servers {
		s := &gw.Servers[i]
		if !mayShare(s) {
			e.ownGateways = append(e.ownGateways, graph.At(s.Bind, gw.Ref))
		}
		switch {
		case s.Protocol.IsHTTP():
			e.httpBinds = append(e.httpBinds, graph.At(none{}, s.Bind))
		case namesSNI(s):
			e.addServer(gw.Ref, s)
		}
	}
	managed, issuers := rs.managedHostsOf(gw)
	for _, h := range managed {
		e.managedHosts = append(e.managedHosts, graph.At(none{}, h))
		e.isManaged = append(e.isManaged, graph.At(h, none{}))
	}
	for _, h := range issuers {
		e.issuers = append(e.issuers, graph.At(none{}, h))
		e.isIssuer = append(e.isIssuer, graph.At(h, none{}))
	}
	return e
}

func (e *nameEntries) addServer(gw model.Ref, s *model.Server) {
	shared := mayShare(s)
	for _, h := range s.Hosts {
		e.sni = append(e.sni, graph.At(sniKey{s.Bind, h.DNS}, gw))
		e.names = append(e.names, graph.At(shareKey{s.Bind, shared}, h.DNS))
		if isHTTP(s) && strings.HasPrefix(h.DNS, "*") {
			e.addWildcard(s, h.DNS)
		}
		if shared {
			if strings.HasPrefix(h.DNS, "*") {
				e.wildShared = append(e.wildShared, graph.At(s.Bind, h.DNS))
			}
			group := model.Table{Bind: s.Bind, TLS: true, Policy: s.TLS.Policy(h.DNS)}
			e.groups = append(e.groups, graph.At(s.Bind, group))
			e.grouped = append(e.grouped, graph.At(group, h.DNS))
			e.sharedBuckets = append(e.sharedBuckets, graph.At(bucketKey{model.Table{Bind: s.Bind}, bucketOf(h.DNS)}, h.DNS))
		}
	}
	if shared {
		e.sharing = append(e.sharing, graph.At(none{}, s.Bind))
	}
	if s.TLS == nil {
		return
	}
	if s.TLS.Layout == model.ChainLayoutOnDemand {
		e.forced = append(e.forced, graph.At(none{}, s.Bind))
	}
	for _, c := range slices.Concat(s.TLS.Certificates, s.TLS.Authorities) {
		for _, f := range []string{c.CertificateFile, c.KeyFile, c.AuthorityFile, c.CRLFile} {
			if f != "" {
				e.fileNames = append(e.fileNames, graph.At(none{}, f))
			}
		}
	}
}

// addWildcard notes a wildcard in whose table HTTP is.
func (e *nameEntries) addWildcard(s *model.Server, name string) {
	group := model.Table{Bind: s.Bind, TLS: true, Policy: s.TLS.Policy(name)}
	e.wildGroups = append(e.wildGroups, graph.At(group, name))
	if s.TLS.HTTP3 {
		e.quicTables = append(e.quicTables, graph.At(none{}, group))
	}
}

func (rs *rules) replaceNames(b, a nameEntries) {
	rs.sni.Replace(b.sni, a.sni)
	rs.names.Replace(b.names, a.names)
	rs.sharedBuckets.Replace(b.sharedBuckets, a.sharedBuckets)
	rs.sharing.Replace(b.sharing, a.sharing)
	rs.ownGateways.Replace(b.ownGateways, a.ownGateways)
	rs.wildShared.Replace(b.wildShared, a.wildShared)
	rs.wildGroups.Replace(b.wildGroups, a.wildGroups)
	rs.quicTables.Replace(b.quicTables, a.quicTables)
	rs.groups.Replace(b.groups, a.groups)
	rs.grouped.Replace(b.grouped, a.grouped)
	rs.forced.Replace(b.forced, a.forced)
	rs.httpBinds.Replace(b.httpBinds, a.httpBinds)
	rs.managedHosts.Replace(b.managedHosts, a.managedHosts)
	rs.isManaged.Replace(b.isManaged, a.isManaged)
	rs.issuers.Replace(b.issuers, a.issuers)
	rs.isIssuer.Replace(b.isIssuer, a.isIssuer)
	rs.fileNames.Replace(b.fileNames, a.fileNames)
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
