package compile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/compile/graph"
	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
)

// This file decides how requests find their host: in a plain table or in a scoped
// one, and whether a connection manager looks for the table by its name or for a
// scope. The first may change, and no connection notices. The second is in the
// connection manager, so that it stays as it is for good, as do chains that names
// share or do not.

// finding is how connection managers find a TLS table, once that is decided.
type finding uint8

const (
	foundByName finding = iota + 1
	foundByScope
)

// chaining is whether names of a bind share a chain, once that is decided.
type chaining uint8

const (
	chainsOwn chaining = iota + 1
	chainsShared
)

// findsByScope says whether connection managers find a table by scope: always,
// unless it is that of TLS hosts with a few exact names. Those may be thousands of
// chains, and what finds scopes costs Envoy 0.3 MB for each.
func (rs *rules) findsByScope(rd *graph.Reader, table model.Table) bool {
	if table.Policy == "" || rs.scopedAbove == 0 || rs.sticky.Read(rd, table) {
		return true
	}
	if kept := rs.finding.Read(rd, table); kept != 0 {
		return kept == foundByScope
	}
	return rs.wildGroups.Size.Read(rd, table) > 0 || rs.hosts.Size.Read(rd, table) > rs.scopedAbove
}

// isScoped says which layout a table has: scoped once it ever held more hosts
// than the limit, if it is found by scope.
func (rs *rules) isScoped(rd *graph.Reader, table model.Table) bool {
	if !rs.scopes.Read(rd, table) {
		return false
	}
	sticky := rs.sticky.Read(rd, table)
	return rs.hosts.Size.Read(rd, table) > rs.scopedAbove || sticky
}

// keep notes what was decided for good.
func (c *Compiler) keep() {
	rs := c.rules
	for t, scoped := range rs.layout.All() {
		if scoped {
			rs.sticky.Set(t, true)
		}
	}
	for t, byScope := range rs.scopes.All() {
		switch {
		case t.Policy == "" || rs.finding.Get(t) != 0:
		case byScope:
			rs.finding.Set(t, foundByScope)
		default:
			rs.finding.Set(t, foundByName)
		}
	}
	shared := rs.onDemand.Value(none{})
	if shared != (model.Bind{}) {
		rs.chaining.Set(shared, chainsShared)
	}
	for _, b := range rs.sharing.Value(none{}) {
		if rs.chaining.Get(b) == 0 && rs.listener.Has(b) {
			rs.chaining.Set(b, chainsOwn)
		}
	}
}

// copyKept takes over what other decided for good.
func (rs *rules) copyKept(other *rules) {
	rs.sticky.Copy(other.sticky)
	rs.finding.Copy(other.finding)
	rs.chaining.Copy(other.chaining)
}

// demandTable demands what a table consists of.
func (rs *rules) demandTable(rd *graph.Reader, table model.Table) none {
	if rs.scopes.Read(rd, table) {
		rs.tableLayout.Demand(rd, table)
	}
	if !rs.layout.Read(rd, table) {
		rs.plainTable.Demand(rd, table)
		return none{}
	}
	for i := range bucketCount {
		rs.bucket.Demand(rd, bucketKey{table, uint8(i)})
	}
	if table.TLS {
		rs.misdirecteds.Demand(rd, table)
	}
	return none{}
}

// tellLayout makes what tells new connections the layout of a table.
func (rs *rules) tellLayout(rd *graph.Reader, table model.Table) resources {
	return resourcesOf(part{
		name: model.ResourceName{Type: model.TypeExtension, Name: model.ExtensionTable(table.Name())},
		msg:  gateway.TableLayout(table.Name(), rs.layout.Read(rd, table)),
	})
}

// buildFallback makes the filter that finds the scope of hosts that are not written
// exactly as declared, and of requests whose connection was not told the layout of
// its table: one for all tables.
func (rs *rules) buildFallback(rd *graph.Reader, _ none) resources {
	keys := map[string]bool{}
	var faults []model.Problem
	// A table over QUIC may answer 421 to everything.
	for _, t := range slices.Concat(rs.tables.Read(rd, none{}), rs.quicTables.Read(rd, none{})) {
		switch {
		case rs.layout.Read(rd, t):
			faults = append(faults, rs.wildcardKeys(rd, t, keys)...)
		case rs.scopes.Read(rd, t):
			keys[model.ScopeName(t.Name(), model.PlainScope)] = true
		}
	}
	out := resourcesOf(part{
		name: model.ResourceName{Type: model.TypeExtension, Name: model.ExtensionFallback},
		msg:  gateway.Fallback(slices.Sorted(maps.Keys(keys))),
	})
	out.faults = append(out.faults, faults...)
	return out
}

// wildcardKeys adds the keys of the wildcards of a scoped table to keys, and
// returns what is wrong with them.
func (rs *rules) wildcardKeys(rd *graph.Reader, t model.Table, keys map[string]bool) (faults []model.Problem) {
	for _, h := range rs.wild.Read(rd, t) {
		key := model.ScopeName(t.Name(), h)
		if gateway.ValidScopeKey(key) {
			keys[key] = true
			continue
		}
		for _, at := range rs.bindings.Read(rd, hostKey{t, h}) {
			faults = append(faults, model.Problem{
				Object: at.by, Field: "spec.hosts", Reason: model.ReasonInvalidValue, Severity: model.SeverityError,
				Message: fmt.Sprintf("wildcard host %q on %v has characters that no host name has; it is not served", h, t.Bind),
			})
		}
	}
	for _, h := range rs.foreign.Read(rd, t) {
		if strings.HasPrefix(h, "*") {
			keys[model.ScopeName(t.Name(), h)] = true
		}
	}
	return faults
}
