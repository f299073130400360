package compile

import (
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

func (rs *rules) buildListener(rd *graph.Reader, bind model.Bind) resources {
	if rs.class.Read(rd, bind).kind != gateway.KindHTTP {
		return rs.buildStreamListener(rd, bind)
	}
	table := model.Table{Bind: bind}
	in := gateway.ListenerInput{
		Bind: bind, Table: table.Name(), Settings: *rs.settings.Read(rd, none{}),
	}
	rs.httpTraits(rd, bind, &in)
	if rs.dynamic.Size.Read(rd, none{}) > 0 {
		in.DNSCache = upstream.DNSCache()
	}
	rs.table.Demand(rd, table)
	rs.fallback.Demand(rd, none{})
	return resourcesOf(part{
		name:   model.ResourceName{Type: model.TypeListener, Name: model.ListenerName(bind)},
		msg:    gateway.Listener(in),
		needs:  gateway.ListenerNeeds(in),
		owners: rs.gatewaysByBind.Read(rd, bind),
	})
}

func (rs *rules) demandHosts(rd *graph.Reader, key bucketKey) none {
	for _, h := range rs.buckets.Read(rd, key) {
		rs.scopedHost.Demand(rd, hostKey{key.table, h})
	}
	return none{}
}
