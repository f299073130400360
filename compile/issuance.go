package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/compile/graph"
	"github.com/sluicegw/sluice/model"
)

// This file is about certificates that are ordered when a client first asks for a
// name below a wildcard. The wildcard itself has none: it is published as a secret
// on request. What clients ask for comes back as a fact, and has its certificate
// ordered, served and renewed like that of a declared host.

// issuesBelow reports whether certificates for names that c covers are ordered on
// demand, and reports to its author what stands against it.
func (rs *rules) issuesBelow(rd *graph.Reader, c *chain, key sniKey) bool {
	t := c.server.TLS
	if !t.IssuesBelow(key.host) || rs.unmanageable(t, key.host) != "" {
		return false
	}
	var why string
	switch sharing := rs.onDemand.Read(rd, none{}); {
	case !mayShare(c.server):
		why = "the server demands more than its certificate says"
	case sharing != key.bind:
		why = fmt.Sprintf("names are looked up on demand on port %s already, and that can be one port only", sharing)
	case len(coveredBy(rs.names.Read(rd, shareKey{key.bind, false}), []string{key.host})) > 0:
		why = "a wildcard of the port that covers it has a filter chain of its own"
	}
	c.issues = why == ""
	if !c.issues {
		c.report(c.server.Field+".tls", model.ReasonCredentialMissing, model.SeverityError, fmt.Sprintf(
			"certificates for names below %q cannot be ordered on demand, because %s; the host is closed", key.host, why))
	}
	return true
}

// request takes names that clients asked for, and those that are given up.
func (rs *rules) request(names map[string]bool) {
	for name, wanted := range names {
		bucket := bucketOf(name)
		has := strings.Fields(rs.requested.Get(bucket))
		i, found := slices.BinarySearch(has, name)
		switch {
		case wanted && !found:
			has = slices.Insert(has, i, name)
		case !wanted && found:
			has = slices.Delete(has, i, i+1)
		default:
			continue
		}
		rs.requested.Set(bucket, strings.Join(has, " "))
	}
}

func issuerOf(o sniOwner) model.Issuer {
	return model.Issuer{Wildcard: o.name, Allowed: o.server.TLS.Allowed}
}

// issued returns the names of a bucket that clients asked for, and that a wildcard
// of the bind has certificates ordered for.
func (rs *rules) issued(rd *graph.Reader, bind model.Bind, bucket uint8) []string {
	return slices.DeleteFunc(strings.Fields(rs.requested.Read(rd, bucket)), func(name string) bool {
		o := rs.coveringOwner(rd, bind, name)
		return o.server == nil || o.name == name || !rs.chain.Read(rd, sniKey{bind, o.name}).issues || !issuerOf(o).Allows(name)
	})
}

func (rs *rules) demandIssued(rd *graph.Reader, key bucketKey) {
	for _, name := range rs.issued(rd, key.table.Bind, key.bucket) {
		rs.issuedSecret.Demand(rd, name)
	}
}

// buildIssuedSecret makes the secret of a name that a client asked for.
func (rs *rules) buildIssuedSecret(rd *graph.Reader, name string) resources {
	credential := model.Credential{Managed: name}
	if !rs.certificate.Read(rd, credential).usable {
		return resources{}
	}
	return rs.pairSecret(rd, model.ResourceName{Type: model.TypeSecret, Name: model.OnDemandName(name)}, rs.credential.Read(rd, credential))
}

// gatherIssuance adds to w what orders on demand want.
func (rs *rules) gatherIssuance(rd *graph.Reader, w *Wants, http bool) {
	bind := rs.onDemand.Read(rd, none{})
	for _, wildcard := range rs.issuers.Read(rd, none{}) {
		if c := rs.chain.Read(rd, sniKey{bind, wildcard}); c.issues {
			w.Issuers = append(w.Issuers, issuerOf(sniOwner{server: c.server, name: wildcard}))
		}
	}
	if len(w.Issuers) == 0 {
		return
	}
	declared := len(w.Managed)
	for i := range bucketCount {
		for _, name := range rs.issued(rd, bind, uint8(i)) {
			w.Managed = append(w.Managed, model.ManagedHost{Host: name, HTTP: http})
		}
	}
	if len(w.Managed) > declared {
		slices.SortFunc(w.Managed, func(a, b model.ManagedHost) int { return strings.Compare(a.Host, b.Host) })
		w.Managed = slices.Compact(w.Managed)
	}
}
