package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/compile/graph"
	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/upstream"
)

// bucketCount is the number of parts of a scoped table.
const bucketCount = 256

// demandListeners is the root: every bind that a gateway opens.
func (rs *rules) demandListeners(rd *graph.Reader, _ none) none {
	for _, b := range rs.binds.Read(rd, none{}) {
		rs.listener.Demand(rd, b)
	}
	if rs.fleet.ACME != nil && rs.managedHosts.Size.Read(rd, none{})+rs.issuers.Size.Read(rd, none{}) > 0 {
		rs.challenges.Demand(rd, none{})
	}
	return none{}
}

// findSettings returns the settings of the oldest Settings object, or the
// defaults.
func (rs *rules) findSettings(rd *graph.Reader, _ none) *model.Settings {
	var oldest *model.Settings
	for _, ref := range rs.settingsObjects.Read(rd, none{}) {
		s, ok := rs.objects.Read(rd, ref).(*model.Settings)
		if ok && (oldest == nil || s.Older(&oldest.Meta)) {
			oldest = s
		}
	}
	if oldest == nil {
		return rs.defaults
	}
	return oldest
}

// isScoped says which layout a table has: scoped once it ever held more hosts
// than the limit.
func (rs *rules) isScoped(rd *graph.Reader, table model.Table) bool {
	sticky := rs.sticky.Read(rd, table)
	return rs.hosts.Size.Read(rd, table) > rs.scopedAbove || sticky
}

func (rs *rules) buildListener(rd *graph.Reader, bind model.Bind) resources {
	if rs.class.Read(rd, bind).kind != gateway.KindHTTP {
		return rs.buildStreamListener(rd, bind)
	}
	table := model.Table{Bind: bind}
	in := gateway.ListenerInput{
		Bind: bind, Table: table.Name(),
		Scoped: rs.layout.Read(rd, table), Settings: *rs.settings.Read(rd, none{}),
	}
	rs.httpTraits(rd, bind, &in)
	if rs.dynamic.Size.Read(rd, none{}) > 0 {
		in.DNSCache = upstream.DNSCache()
	}
	rs.table.Demand(rd, table)
	if in.Scoped {
		rs.fallback.Demand(rd, none{})
	}
	return resourcesOf(part{
		name:   model.ResourceName{Type: model.TypeListener, Name: model.ListenerName(bind)},
		msg:    gateway.Listener(in),
		needs:  gateway.ListenerNeeds(in),
		owners: rs.gatewaysByBind.Read(rd, bind),
	})
}

// demandTable demands what a table consists of.
func (rs *rules) demandTable(rd *graph.Reader, table model.Table) none {
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

func (rs *rules) demandHosts(rd *graph.Reader, key bucketKey) none {
	for _, h := range rs.buckets.Read(rd, key) {
		rs.scopedHost.Demand(rd, hostKey{key.table, h})
	}
	return none{}
}

// buildFallback makes the filter that finds the scope of hosts that are not written
// exactly as declared: one for all scoped tables.
func (rs *rules) buildFallback(rd *graph.Reader, _ none) resources {
	var keys []string
	var faults []model.Problem
	for _, t := range rs.tables.Read(rd, none{}) {
		if !rs.layout.Read(rd, t) {
			continue
		}
		for _, h := range rs.wild.Read(rd, t) {
			key := model.ScopeName(t.Name(), h)
			if gateway.ValidScopeKey(key) {
				keys = append(keys, key)
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
				keys = append(keys, model.ScopeName(t.Name(), h))
			}
		}
	}
	slices.Sort(keys)
	out := resourcesOf(part{name: model.ResourceName{Type: model.TypeExtension, Name: model.ExtensionFallback}, msg: gateway.Fallback(keys)})
	out.faults = append(out.faults, faults...)
	return out
}
