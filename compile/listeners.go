package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/upstream"
)

// bucketCount is the number of parts of a scoped table.
const bucketCount = 256

// demandListeners is the root: every bind that a gateway opens.
func (rs *rules) demandListeners(rd *reader, _ none) none {
	for _, b := range rs.binds.read(rd, none{}) {
		rs.listener.demand(rd, b)
	}
	if rs.fleet.ACME != nil && rs.managedHosts.size.read(rd, none{}) > 0 {
		rs.challenges.demand(rd, none{})
	}
	return none{}
}

// findSettings returns the settings of the oldest Settings object, or the
// defaults.
func (rs *rules) findSettings(rd *reader, _ none) *model.Settings {
	var oldest *model.Settings
	for _, ref := range rs.settingsObjects.read(rd, none{}) {
		s, ok := rs.objects.read(rd, ref).(*model.Settings)
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
func (rs *rules) isScoped(rd *reader, table model.Table) bool {
	sticky := rs.sticky.read(rd, table)
	return rs.hosts.size.read(rd, table) > rs.scopedAbove || sticky
}

func (rs *rules) buildListener(rd *reader, bind model.Bind) resources {
	if rs.class.read(rd, bind).kind != gateway.KindHTTP {
		return rs.buildStreamListener(rd, bind)
	}
	table := model.Table{Bind: bind}
	in := gateway.ListenerInput{
		Bind: bind, Table: table.Name(),
		Scoped: rs.layout.read(rd, table), Settings: *rs.settings.read(rd, none{}),
	}
	rs.httpTraits(rd, bind, &in)
	if rs.dynamic.size.read(rd, none{}) > 0 {
		in.DNSCache = upstream.DNSCache()
	}
	rs.table.demand(rd, table)
	if in.Scoped {
		rs.fallback.demand(rd, none{})
	}
	return resourcesOf(part{
		name:   model.ResourceName{Type: model.TypeListener, Name: model.ListenerName(bind)},
		msg:    gateway.Listener(in),
		needs:  gateway.ListenerNeeds(in),
		owners: rs.gatewaysByBind.read(rd, bind),
	})
}

// demandTable demands what a table consists of.
func (rs *rules) demandTable(rd *reader, table model.Table) none {
	if !rs.layout.read(rd, table) {
		rs.plainTable.demand(rd, table)
		return none{}
	}
	for i := range bucketCount {
		rs.bucket.demand(rd, bucketKey{table, uint8(i)})
	}
	if table.TLS {
		rs.misdirecteds.demand(rd, table)
	}
	return none{}
}

func (rs *rules) demandHosts(rd *reader, key bucketKey) none {
	for _, h := range rs.buckets.read(rd, key) {
		rs.scopedHost.demand(rd, hostKey{key.table, h})
	}
	return none{}
}

// buildFallback makes the filters that find the scope of hosts that are not
// written exactly as declared: one pair for all scoped tables.
func (rs *rules) buildFallback(rd *reader, _ none) resources {
	var keys []string
	var faults []model.Problem
	for _, t := range rs.tables.read(rd, none{}) {
		if !rs.layout.read(rd, t) {
			continue
		}
		for _, h := range rs.wild.read(rd, t) {
			key := model.ScopeName(t.Name(), h)
			if gateway.ValidScopeKey(key) {
				keys = append(keys, key)
				continue
			}
			for _, at := range rs.bindings.read(rd, hostKey{t, h}) {
				faults = append(faults, model.Problem{
					Object: at.by, Field: "spec.hosts", Reason: model.ReasonInvalidValue, Severity: model.SeverityError,
					Message: fmt.Sprintf("wildcard host %q on %v has characters that no host name has; it is not served", h, t.Bind),
				})
			}
		}
		for _, h := range rs.foreign.read(rd, t) {
			if strings.HasPrefix(h, "*") {
				keys = append(keys, model.ScopeName(t.Name(), h))
			}
		}
	}
	slices.Sort(keys)
	out := resourcesOf(
		part{name: model.ResourceName{Type: model.TypeExtension, Name: model.ExtensionFallback}, msg: gateway.Fallback(keys)},
		part{name: model.ResourceName{Type: model.TypeExtension, Name: model.ExtensionFallbackUpgrade}, msg: gateway.FallbackUpgrade()},
	)
	out.faults = append(out.faults, faults...)
	return out
}
