package compile

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/sluicegw/sluice/compile/graph"
	"github.com/sluicegw/sluice/model"
)

// This file says what reads what. The ranks are the order in which a change
// travels; each rule stands at its rank and reads only ranks above it in this
// list.
const (
	rankInput       graph.Rank = iota // objects as declared, sticky layouts
	rankObjectIndex                   // objects by host, by bind, …
	rankBind                          // bind → what is spoken there
	rankAttach                        // object → the hosts it brings to which bind
	rankAttachIndex                   // tables, their hosts, route sets by host
	rankService                       // host → its service; credentials; delegation
	rankPolicy                        // host → the policies that rule it; layouts; settings; what certificates are worth
	rankTarget                        // destination → cluster, or why not; server name → chain
	rankBinds                         // root: every bind
	rankListener                      // bind → listener
	rankTable                         // table → what it consists of
	rankBucket                        // a part of the hosts of a scoped table
	rankHost                          // host → virtual host
	rankHostTable                     // virtual hosts → route configurations, scopes, fallback
	rankCluster                       // destination → cluster
	rankEndpoints                     // destination → endpoints
	ranks
)

// none is the key of rules that exist once.
type none struct{}

// hostKey is a host in a table.
type hostKey struct {
	table model.Table
	host  string
}

// bucketKey is a part of the hosts of a table: so that a new host in a table of
// ten thousand changes a list of forty.
type bucketKey struct {
	table  model.Table
	bucket uint8
}

// targetKey is a destination as a rule on a port names it.
type targetKey struct {
	destination model.Destination
	listener    uint32 // the port of the bind if the destination names none
}

// selectorKey is one label of a workload in a namespace.
type selectorKey struct{ namespace, label, value string }

// rules is the whole graph: inputs, indexes and rules by rank.
type rules struct {
	g           *graph.Graph
	scopedAbove int
	fleet       Fleet
	defaults    *model.Settings

	objects    *graph.Input[model.Ref, model.Value]
	sticky     *graph.Input[model.Table, bool]           // tables in the scoped layout, for good
	finding    *graph.Input[model.Table, finding]        // for good
	chaining   *graph.Input[model.Bind, chaining]        // for good
	moments    *graph.Input[model.Credential, time.Time] // by which certificates are judged
	files      *graph.Input[string, *File]
	managed    *graph.Input[string, *model.ManagedCertificate] // by host
	staples    *graph.Input[string, string]                    // DER by certificate
	tickets    *graph.Input[none, string]                      // keys, one after the other
	requested  *graph.Input[uint8, string]                     // names that clients asked for, by bucket, a space between them
	notedPairs map[model.Credential]bool                       // see notePair

	refused *graph.Input[model.ResourceName, Refusal]

	servicesByHost  *graph.Index[string, model.Ref]
	policiesByHost  *graph.Index[string, model.Ref]
	workloads       *graph.Index[selectorKey, model.Ref]
	slices          *graph.Index[model.Ref, model.Ref] // by Service
	gatewaysByBind  *graph.Index[model.Bind, model.Ref]
	settingsObjects *graph.Index[none, model.Ref]
	dynamic         *graph.Index[none, model.Ref] // services that resolve what clients ask for
	sni             *graph.Index[sniKey, model.Ref]
	names           *graph.Index[shareKey, string]
	sharedBuckets   *graph.Index[bucketKey, string]
	sharing         *graph.Index[none, model.Bind]      // binds with names that may share a chain
	ownGateways     *graph.Index[model.Bind, model.Ref] // with a server whose names need chains of their own
	wildShared      *graph.Index[model.Bind, string]    // wildcards among the names that may share
	wildGroups      *graph.Index[model.Table, string]   // wildcards of servers, by the table they have if they do not share
	quicTables      *graph.Index[none, model.Table]     // of those with HTTP/3
	groups          *graph.Index[model.Bind, model.Table]
	grouped         *graph.Index[model.Table, string] // names that may share, by the table they have if they do not
	forced          *graph.Index[none, model.Bind]    // binds told to share it
	httpBinds       *graph.Index[none, model.Bind]
	managedHosts    *graph.Index[none, string]
	isManaged       *graph.Index[string, none]
	issuers         *graph.Index[none, string] // wildcards below which certificates are ordered on demand
	isIssuer        *graph.Index[string, none]
	fileNames       *graph.Index[none, string]

	class    *graph.Rule[model.Bind, serverClass]
	attach   *graph.Rule[model.Ref, attached]
	binds    *graph.Index[none, model.Bind]
	tables   *graph.Index[none, model.Table]
	hosts    *graph.Index[model.Table, string]
	buckets  *graph.Index[bucketKey, string]
	wild     *graph.Index[model.Table, string]
	bindings *graph.Index[hostKey, attachment]
	streams  *graph.Index[model.Bind, attachment]

	expanded   *graph.Rule[model.Ref, expansion]
	credential *graph.Rule[model.Credential, credential]
	service    *graph.Rule[string, *service]
	checked    *graph.Rule[model.Ref, resources]
	policies   *graph.Rule[string, []*model.DestinationPolicy]
	settings   *graph.Rule[none, *model.Settings]
	scopes     *graph.Rule[model.Table, bool] // whether it is found by scope
	layout     *graph.Rule[model.Table, bool] // whether it is scoped
	onDemand   *graph.Rule[none, model.Bind]  // the bind that fetches certificates on demand; zero: none

	certificate *graph.Rule[model.Credential, certificate]
	foreign     *graph.Rule[model.Table, []string]
	chain       *graph.Rule[sniKey, chain]

	target *graph.Rule[targetKey, target]

	root        *graph.Rule[none, none]
	listener    *graph.Rule[model.Bind, resources]
	table       *graph.Rule[model.Table, none]
	bucket      *graph.Rule[bucketKey, none]
	host        *graph.Rule[hostKey, virtualHost]
	plainTable  *graph.Rule[model.Table, resources]
	tableLayout *graph.Rule[model.Table, resources]
	scopedHost  *graph.Rule[hostKey, resources]
	fallback    *graph.Rule[none, resources]
	cluster     *graph.Rule[model.Destination, resources]
	endpoints   *graph.Rule[model.Destination, resources]
	secret      *graph.Rule[secretKey, resources]

	misdirecteds *graph.Rule[model.Table, resources]
	sharedBucket *graph.Rule[bucketKey, none]
	sharedSecret *graph.Rule[sniKey, resources]
	issuedSecret *graph.Rule[string, resources]
	ticketKeys   *graph.Rule[none, resources]
	challenges   *graph.Rule[none, resources]
	wants        *graph.Rule[none, *Wants]
}

func newRules(o Options) *rules {
	g := graph.New(int(ranks), isOutput)
	defaults := model.DefaultSettings()
	rs := &rules{g: g, scopedAbove: o.ScopedAbove, fleet: o.Fleet, defaults: &defaults, notedPairs: map[model.Credential]bool{}}
	rs.objects = graph.NewInput[model.Ref, model.Value](g, "object")
	rs.sticky = graph.NewInput[model.Table, bool](g, "sticky layout")
	rs.refused = graph.NewInput[model.ResourceName, Refusal](g, "refusal")
	rs.inputFacts(g)
	rs.indexObjects(g)
	rs.indexAttachments(g)
	rs.expanded = graph.NewRule(g, "expanded", rankService, rs.expand, expansion.equal)
	rs.service = graph.NewRule(g, "service", rankService, rs.findService, sameService)
	rs.credential = graph.NewRule(g, "credential", rankService, rs.readCredential, credential.equal)
	rs.policies = graph.NewRule(g, "policies", rankPolicy, rs.findPolicies, slices.Equal[[]*model.DestinationPolicy])
	rs.settings = graph.NewRule(g, "settings", rankPolicy, rs.findSettings, same[*model.Settings])
	rs.scopes = graph.NewRule(g, "scopes", rankService, rs.findsByScope, same[bool])
	rs.layout = graph.NewRule(g, "layout", rankPolicy, rs.isScoped, same[bool])
	rs.checked = graph.NewRule(g, "check", rankTarget, rs.check, resources.equal)
	rs.target = graph.NewRule(g, "target", rankTarget, rs.resolve, sameTarget)
	rs.root = graph.NewRule(g, "root", rankBinds, rs.demandListeners, same[none])
	rs.listener = graph.NewRule(g, "listener", rankListener, rs.buildListener, resources.equal)
	rs.table = graph.NewRule(g, "table", rankTable, rs.demandTable, same[none])
	rs.bucket = graph.NewRule(g, "bucket", rankBucket, rs.demandHosts, same[none])
	rs.host = graph.NewRule(g, "virtual host", rankHost, rs.buildHost, virtualHost.equal)
	rs.plainTable = graph.NewRule(g, "plain table", rankHostTable, rs.buildPlainTable, resources.equal)
	rs.tableLayout = graph.NewRule(g, "table layout", rankHostTable, rs.tellLayout, resources.equal)
	rs.scopedHost = graph.NewRule(g, "scoped host", rankHostTable, rs.buildScopedHost, resources.equal)
	rs.fallback = graph.NewRule(g, "fallback", rankHostTable, rs.buildFallback, resources.equal)
	rs.cluster = graph.NewRule(g, "cluster", rankCluster, rs.buildCluster, resources.equal)
	rs.endpoints = graph.NewRule(g, "endpoints", rankEndpoints, rs.buildEndpoints, resources.equal)
	rs.secret = graph.NewRule(g, "secret", rankEndpoints, rs.buildSecret, resources.equal)
	rs.rulesOfTLS(g)
	rs.root.Pin(none{})
	rs.settings.Pin(none{})
	rs.wants.Pin(none{})
	return rs
}

// inputFacts are what is not declared; see [Facts].
func (rs *rules) inputFacts(g *graph.Graph) {
	rs.finding = graph.NewInput[model.Table, finding](g, "sticky finding")
	rs.chaining = graph.NewInput[model.Bind, chaining](g, "sticky chains")
	rs.moments = graph.NewInput[model.Credential, time.Time](g, "moment")
	rs.files = graph.NewInput[string, *File](g, "file")
	rs.managed = graph.NewInput[string, *model.ManagedCertificate](g, "managed certificate")
	rs.staples = graph.NewInput[string, string](g, "staple")
	rs.tickets = graph.NewInput[none, string](g, "tickets")
	rs.requested = graph.NewInput[uint8, string](g, "requested names")
}

// rulesOfTLS are the rules about TLS that ends at the gateway.
func (rs *rules) rulesOfTLS(g *graph.Graph) {
	rs.certificate = graph.NewRule(g, "certificate", rankPolicy, rs.judge, same[certificate])
	rs.certificate.Changed = func(before, after certificate) { rs.notePair(cmp.Or(before.key, after.key)) }
	rs.credential.Changed = func(before, after credential) { rs.notePair(cmp.Or(before.key, after.key)) }
	rs.onDemand = graph.NewRule(g, "on demand", rankBind, rs.findOnDemand, same[model.Bind])
	rs.foreign = graph.NewRule(g, "foreign hosts", rankPolicy, rs.findForeign, slices.Equal[[]string])
	rs.chain = graph.NewRule(g, "chain", rankTarget, rs.buildChain, chain.equal)
	rs.misdirecteds = graph.NewRule(g, "misdirected hosts", rankHostTable, rs.buildMisdirected, resources.equal)
	rs.sharedBucket = graph.NewRule(g, "shared bucket", rankBucket, rs.demandShared, same[none])
	rs.sharedSecret = graph.NewRule(g, "shared secret", rankEndpoints, rs.buildSharedSecret, resources.equal)
	rs.issuedSecret = graph.NewRule(g, "issued secret", rankEndpoints, rs.buildIssuedSecret, resources.equal)
	rs.ticketKeys = graph.NewRule(g, "ticket keys", rankEndpoints, rs.buildTickets, resources.equal)
	rs.challenges = graph.NewRule(g, "challenge clusters", rankCluster, rs.buildChallengeClusters, resources.equal)
	rs.wants = graph.NewRule(g, "wants", rankEndpoints, rs.gatherWants, (*Wants).equal)
}

func same[V comparable](a, b V) bool { return a == b }

func (rs *rules) indexObjects(g *graph.Graph) {
	rs.servicesByHost = graph.NewIndex[string](g, "services by host", rankObjectIndex, model.Ref.Compare)
	rs.policiesByHost = graph.NewIndex[string](g, "policies by host", rankObjectIndex, model.Ref.Compare)
	rs.workloads = graph.NewIndex[selectorKey](g, "workloads by label", rankObjectIndex, model.Ref.Compare)
	rs.slices = graph.NewIndex[model.Ref](g, "slices by service", rankObjectIndex, model.Ref.Compare)
	rs.gatewaysByBind = graph.NewIndex[model.Bind](g, "gateways by bind", rankObjectIndex, model.Ref.Compare)
	rs.dynamic = graph.NewIndex[none](g, "dynamic services", rankObjectIndex, model.Ref.Compare)
	rs.settingsObjects = graph.NewIndex[none](g, "settings objects", rankObjectIndex, model.Ref.Compare)
	rs.sni = graph.NewIndex[sniKey](g, "servers by name", rankObjectIndex, model.Ref.Compare)
	rs.names = graph.NewIndex[shareKey](g, "server names", rankObjectIndex, strings.Compare)
	rs.sharedBuckets = graph.NewIndex[bucketKey](g, "shared names", rankObjectIndex, strings.Compare)
	rs.ownGateways = graph.NewIndex[model.Bind](g, "gateways with chains", rankObjectIndex, model.Ref.Compare)
	rs.wildShared = graph.NewIndex[model.Bind](g, "shared wildcards", rankObjectIndex, strings.Compare)
	rs.wildGroups = graph.NewIndex[model.Table](g, "wildcards by group", rankObjectIndex, strings.Compare)
	rs.quicTables = graph.NewIndex[none](g, "wildcard tables over QUIC", rankObjectIndex, compareTable)
	rs.groups = graph.NewIndex[model.Bind](g, "groups", rankObjectIndex, compareTable)
	rs.grouped = graph.NewIndex[model.Table](g, "names by group", rankObjectIndex, strings.Compare)
	rs.sharing = graph.NewIndex[none](g, "binds that may share", rankObjectIndex, compareBind)
	rs.forced = graph.NewIndex[none](g, "binds that must share", rankObjectIndex, compareBind)
	rs.httpBinds = graph.NewIndex[none](g, "plain HTTP binds", rankObjectIndex, compareBind)
	rs.managedHosts = graph.NewIndex[none](g, "managed hosts", rankObjectIndex, strings.Compare)
	rs.isManaged = graph.NewIndex[string](g, "managed", rankObjectIndex, func(_, _ none) int { return 0 })
	rs.issuers = graph.NewIndex[none](g, "issuers", rankObjectIndex, strings.Compare)
	rs.isIssuer = graph.NewIndex[string](g, "issuer", rankObjectIndex, func(_, _ none) int { return 0 })
	rs.fileNames = graph.NewIndex[none](g, "files", rankObjectIndex, strings.Compare)
}

func (rs *rules) indexAttachments(g *graph.Graph) {
	rs.class = graph.NewRule(g, "class", rankBind, rs.findClass, same[serverClass])
	rs.attach = graph.NewRule(g, "attach", rankAttach, rs.buildAttached, attached.equal)
	rs.attach.Changed = rs.reindexAttached
	rs.binds = graph.NewIndex[none](g, "binds", rankAttachIndex, compareBind)
	rs.tables = graph.NewIndex[none](g, "tables", rankAttachIndex, compareTable)
	rs.hosts = graph.NewIndex[model.Table](g, "hosts", rankAttachIndex, strings.Compare)
	rs.buckets = graph.NewIndex[bucketKey](g, "host buckets", rankAttachIndex, strings.Compare)
	rs.wild = graph.NewIndex[model.Table](g, "wildcard hosts", rankAttachIndex, strings.Compare)
	rs.bindings = graph.NewIndex[hostKey](g, "bindings", rankAttachIndex, compareAttachment)
	rs.streams = graph.NewIndex[model.Bind](g, "stream bindings", rankAttachIndex, compareAttachment)
}

// set puts one object in the place of the one before it; nil removes it.
func (rs *rules) set(ref model.Ref, v model.Value) {
	before := rs.objects.Get(ref)
	v = keepBetter(before, v)
	rs.objects.Set(ref, v)
	b, a := rs.entriesOf(before), rs.entriesOf(v)
	rs.servicesByHost.Replace(b.services, a.services)
	rs.policiesByHost.Replace(b.policies, a.policies)
	rs.workloads.Replace(b.workloads, a.workloads)
	rs.slices.Replace(b.slices, a.slices)
	rs.gatewaysByBind.Replace(b.gateways, a.gateways)
	rs.settingsObjects.Replace(b.settings, a.settings)
	rs.dynamic.Replace(b.dynamic, a.dynamic)
	rs.replaceNames(b.names, a.names)
	switch o := v.(type) {
	case *model.Service:
		rs.pinContested(o)
	case *model.Gateway, *model.RouteSet:
		rs.attach.Pin(ref)
	case *model.DestinationPolicy:
		rs.checked.Pin(ref)
	}
}

// forget drops the roots of a removed object once its absence has settled.
func (rs *rules) forget(ref model.Ref) {
	rs.attach.Unpin(ref)
	rs.checked.Unpin(ref)
}

// objectEntries are the places of one object in the indexes of objects.
type objectEntries struct {
	services  []graph.Entry[string, model.Ref]
	policies  []graph.Entry[string, model.Ref]
	workloads []graph.Entry[selectorKey, model.Ref]
	slices    []graph.Entry[model.Ref, model.Ref]
	gateways  []graph.Entry[model.Bind, model.Ref]
	settings  []graph.Entry[none, model.Ref]
	dynamic   []graph.Entry[none, model.Ref]
	names     nameEntries
}

func (rs *rules) entriesOf(v model.Value) (e objectEntries) {
	switch o := v.(type) {
	case *model.Service:
		for _, h := range o.Hosts {
			e.services = append(e.services, graph.At(h, o.Ref))
		}
		if o.Resolution == model.ResolutionDynamic {
			e.dynamic = append(e.dynamic, graph.At(none{}, o.Ref))
		}
	case *model.DestinationPolicy:
		e.policies = append(e.policies, graph.At(o.Host, o.Ref))
	case *model.Workload:
		for k, val := range o.Endpoint.Labels {
			e.workloads = append(e.workloads, graph.At(selectorKey{o.Ref.Namespace, k, val}, o.Ref))
		}
	case *model.EndpointSlice:
		svc := model.Ref{Kind: "Service", Namespace: o.Ref.Namespace, Name: o.Service}
		e.slices = append(e.slices, graph.At(svc, o.Ref))
	case *model.Gateway:
		for i := range o.Servers {
			e.gateways = append(e.gateways, graph.At(o.Servers[i].Bind, o.Ref))
		}
		e.names = rs.nameEntriesOf(o)
	case *model.Settings:
		e.settings = append(e.settings, graph.At(none{}, o.Ref))
	}
	return e
}
