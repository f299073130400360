package compile

import (
	"slices"

	"github.com/sluicegw/sluice/compile/graph"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/tls"
)

// onDemandAbove is the number of names on a bind above which they share a chain
// that fetches certificates when clients name them.
//
// Source: measured on Envoy 1.40, adding a chain costs 0.26 s among 1,000 and
// 3.4 s among 10,000; on demand it costs 3 ms.
const onDemandAbove = 2000

// crowdedAbove is the number of names with one certificate, and of wildcards, above
// which they share a chain from the start: their tables are, or may have to be, in
// the scoped layout, and what finds scopes costs Envoy 0.3 MB for each chain. Names
// that have chains keep them, because their connections would have to go.
const crowdedAbove = 256

// findOnDemand returns the one bind whose names share a chain: the names of its
// secrets are what clients ask for, so two binds could not tell them apart.
func (rs *rules) findOnDemand(rd *graph.Reader, _ none) model.Bind {
	sharing, forced := rs.sharing.Read(rd, none{}), rs.forced.Read(rd, none{})
	for _, b := range sharing {
		if rs.chaining.Read(rd, b) == chainsShared {
			return b
		}
	}
	for _, b := range sharing {
		if slices.Contains(forced, b) || rs.names.Size.Read(rd, shareKey{b, true}) > onDemandAbove {
			return b
		}
		if rs.chaining.Read(rd, b) != chainsOwn && rs.crowded(rd, b) {
			return b
		}
	}
	return model.Bind{}
}

// crowded reports whether too many names of a bind have one certificate, or are
// wildcards.
func (rs *rules) crowded(rd *graph.Reader, b model.Bind) bool {
	if rs.names.Size.Read(rd, shareKey{b, true}) <= crowdedAbove {
		return false
	}
	return rs.wildShared.Size.Read(rd, b) > crowdedAbove || slices.ContainsFunc(rs.groups.Read(rd, b), func(t model.Table) bool { return rs.grouped.Size.Read(rd, t) > crowdedAbove })
}

// firstSharing returns the server whose settings the shared chain of a bind has,
// nobody if there is no such chain.
func (rs *rules) firstSharing(rd *graph.Reader, bind model.Bind) sniOwner {
	if rs.onDemand.Read(rd, none{}) != bind {
		return sniOwner{}
	}
	for i := range bucketCount {
		for _, name := range rs.sharedBuckets.Read(rd, bucketKey{model.Table{Bind: bind}, uint8(i)}) {
			if o := rs.ownerOf(rd, sniKey{bind, name}); o.server != nil && mayShare(o.server) {
				return o
			}
		}
	}
	return sniOwner{}
}

// demandShared demands the secrets of a part of the names on demand.
func (rs *rules) demandShared(rd *graph.Reader, key bucketKey) none {
	for _, h := range rs.sharedBuckets.Read(rd, key) {
		rs.sharedSecret.Demand(rd, sniKey{key.table.Bind, h})
	}
	rs.demandIssued(rd, key)
	return none{}
}

// buildSharedSecret makes the secret of a name on demand.
func (rs *rules) buildSharedSecret(rd *graph.Reader, key sniKey) resources {
	c := rs.chain.Read(rd, key)
	name := model.ResourceName{Type: model.TypeSecret, Name: model.OnDemandName(key.host)}
	if c.issues {
		return resources{list: []*model.Resource{{ResourceName: name, OnRequest: true, Owners: []model.Ref{c.host.Gateway}}}}
	}
	if len(c.pairs) == 0 || !mayShare(c.server) {
		return resources{} // reported by the chain
	}
	return rs.pairSecret(rd, name, rs.credential.Read(rd, c.pairs[0]))
}

// ticketKeyBytes is the length of one key of session tickets.
const ticketKeyBytes = 80

func (rs *rules) buildTickets(rd *graph.Reader, _ none) resources {
	var keys [][]byte
	for key := range slices.Chunk([]byte(rs.tickets.Read(rd, none{})), ticketKeyBytes) {
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return resources{}
	}
	name := model.ResourceName{Type: model.TypeSecret, Name: model.SecretTickets}
	return resourcesOf(part{name: name, msg: tls.Tickets(name.Name, keys)})
}
