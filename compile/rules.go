package compile

import (
	"slices"
	"strings"
	"time"

	"github.com/sluicegw/sluice/model"
)

// This file says what reads what. The ranks are the order in which a change
// travels; each rule stands at its rank and reads only ranks above it in this
// list.
const (
	rankInput       rank = iota // objects as declared, sticky layouts
	rankObjectIndex             // objects by host, by bind, …
	rankBind                    // bind → what is spoken there
	rankAttach                  // object → the hosts it brings to which bind
	rankAttachIndex             // tables, their hosts, route sets by host
	rankService                 // host → its service; credentials; delegation
	rankPolicy                  // host → the policies that rule it; layouts; settings; what certificates are worth
	rankTarget                  // destination → cluster, or why not; server name → chain
	rankBinds                   // root: every bind
	rankListener                // bind → listener
	rankTable                   // table → what it consists of
	rankBucket                  // a part of the hosts of a scoped table
	rankHost                    // host → virtual host
	rankHostTable               // virtual hosts → route configurations, scopes, fallback
	rankCluster                 // destination → cluster
	rankEndpoints               // destination → endpoints
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
	g           *graph
	scopedAbove int
	fleet       Fleet
	defaults    *model.Settings

	objects *input[model.Ref, model.Value]
	sticky  *input[model.Table, bool]
	shared  *input[model.Bind, bool] // binds that fetch certificates on demand, for good
	clock   *input[none, time.Time]
	files   *input[string, *File]
	managed *input[string, *model.ManagedCertificate] // by host
	staples *input[string, string]                    // DER by certificate
	tickets *input[none, string]                      // keys, one after the other
	refused *input[model.ResourceName, Refusal]

	servicesByHost  *index[string, model.Ref]
	policiesByHost  *index[string, model.Ref]
	workloads       *index[selectorKey, model.Ref]
	slices          *index[model.Ref, model.Ref] // by Service
	gatewaysByBind  *index[model.Bind, model.Ref]
	serversByHost   *index[serverHostKey, model.Ref]
	settingsObjects *index[none, model.Ref]
	dynamic         *index[none, model.Ref] // services that resolve what clients ask for
	sni             *index[sniKey, model.Ref]
	names           *index[shareKey, string]
	sharedBuckets   *index[bucketKey, string]
	sharing         *index[none, model.Bind] // binds with names that may share a chain
	forced          *index[none, model.Bind] // binds told to share it
	httpBinds       *index[none, model.Bind]
	managedHosts    *index[none, string]
	isManaged       *index[string, none]
	pairs           *index[none, model.Credential]
	fileNames       *index[none, string]

	class    *rule[model.Bind, serverClass]
	attach   *rule[model.Ref, attached]
	binds    *index[none, model.Bind]
	tables   *index[none, model.Table]
	hosts    *index[model.Table, string]
	buckets  *index[bucketKey, string]
	wild     *index[model.Table, string]
	bindings *index[hostKey, attachment]
	streams  *index[model.Bind, attachment]

	expanded   *rule[model.Ref, expansion]
	credential *rule[model.Credential, credential]
	service    *rule[string, *model.Service]
	checked    *rule[model.Ref, resources]
	policies   *rule[string, []*model.DestinationPolicy]
	settings   *rule[none, *model.Settings]
	layout     *rule[model.Table, bool]
	onDemand   *rule[none, model.Bind] // the bind that fetches certificates on demand; zero: none

	certificate *rule[model.Credential, certificate]
	foreign     *rule[model.Table, []string]
	chain       *rule[sniKey, chain]

	target *rule[targetKey, target]

	root       *rule[none, none]
	listener   *rule[model.Bind, resources]
	table      *rule[model.Table, none]
	bucket     *rule[bucketKey, none]
	host       *rule[hostKey, virtualHost]
	plainTable *rule[model.Table, resources]
	scopedHost *rule[hostKey, resources]
	fallback   *rule[none, resources]
	cluster    *rule[model.Destination, resources]
	endpoints  *rule[model.Destination, resources]
	secret     *rule[secretKey, resources]

	misdirecteds *rule[model.Table, resources]
	sharedBucket *rule[bucketKey, none]
	sharedSecret *rule[sniKey, resources]
	ticketKeys   *rule[none, resources]
	challenges   *rule[none, resources]
	wants        *rule[none, *Wants]
}

func newRules(o Options) *rules {
	g := newGraph()
	defaults := model.DefaultSettings()
	rs := &rules{g: g, scopedAbove: o.ScopedAbove, fleet: o.Fleet, defaults: &defaults}
	rs.objects = newInput[model.Ref, model.Value](g, "object")
	rs.sticky = newInput[model.Table, bool](g, "sticky layout")
	rs.refused = newInput[model.ResourceName, Refusal](g, "refusal")
	rs.inputFacts(g)
	rs.indexObjects(g)
	rs.indexAttachments(g)
	rs.expanded = newRule(g, "expanded", rankService, rs.expand, expansion.equal)
	rs.service = newRule(g, "service", rankService, rs.findService, same[*model.Service])
	rs.credential = newRule(g, "credential", rankService, rs.readCredential, credential.equal)
	rs.policies = newRule(g, "policies", rankPolicy, rs.findPolicies, slices.Equal[[]*model.DestinationPolicy])
	rs.settings = newRule(g, "settings", rankPolicy, rs.findSettings, same[*model.Settings])
	rs.layout = newRule(g, "layout", rankPolicy, rs.isScoped, same[bool])
	rs.checked = newRule(g, "policy check", rankTarget, rs.checkPolicy, resources.equal)
	rs.target = newRule(g, "target", rankTarget, rs.resolve, sameTarget)
	rs.root = newRule(g, "root", rankBinds, rs.demandListeners, same[none])
	rs.listener = newRule(g, "listener", rankListener, rs.buildListener, resources.equal)
	rs.table = newRule(g, "table", rankTable, rs.demandTable, same[none])
	rs.bucket = newRule(g, "bucket", rankBucket, rs.demandHosts, same[none])
	rs.host = newRule(g, "virtual host", rankHost, rs.buildHost, virtualHost.equal)
	rs.plainTable = newRule(g, "plain table", rankHostTable, rs.buildPlainTable, resources.equal)
	rs.scopedHost = newRule(g, "scoped host", rankHostTable, rs.buildScopedHost, resources.equal)
	rs.fallback = newRule(g, "fallback", rankHostTable, rs.buildFallback, resources.equal)
	rs.cluster = newRule(g, "cluster", rankCluster, rs.buildCluster, resources.equal)
	rs.endpoints = newRule(g, "endpoints", rankEndpoints, rs.buildEndpoints, resources.equal)
	rs.secret = newRule(g, "secret", rankEndpoints, rs.buildSecret, resources.equal)
	rs.rulesOfTLS(g)
	rs.root.pin(none{})
	rs.settings.pin(none{})
	rs.wants.pin(none{})
	return rs
}

// inputFacts are what is not declared; see [Facts].
func (rs *rules) inputFacts(g *graph) {
	rs.shared = newInput[model.Bind, bool](g, "sticky chain")
	rs.clock = newInput[none, time.Time](g, "clock")
	rs.files = newInput[string, *File](g, "file")
	rs.managed = newInput[string, *model.ManagedCertificate](g, "managed certificate")
	rs.staples = newInput[string, string](g, "staple")
	rs.tickets = newInput[none, string](g, "tickets")
}

// rulesOfTLS are the rules about TLS that ends at the gateway.
func (rs *rules) rulesOfTLS(g *graph) {
	rs.certificate = newRule(g, "certificate", rankPolicy, rs.judge, same[certificate])
	rs.onDemand = newRule(g, "on demand", rankPolicy, rs.findOnDemand, same[model.Bind])
	rs.foreign = newRule(g, "foreign hosts", rankPolicy, rs.findForeign, slices.Equal[[]string])
	rs.chain = newRule(g, "chain", rankTarget, rs.buildChain, chain.equal)
	rs.misdirecteds = newRule(g, "misdirected hosts", rankHostTable, rs.buildMisdirected, resources.equal)
	rs.sharedBucket = newRule(g, "shared bucket", rankBucket, rs.demandShared, same[none])
	rs.sharedSecret = newRule(g, "shared secret", rankEndpoints, rs.buildSharedSecret, resources.equal)
	rs.ticketKeys = newRule(g, "ticket keys", rankEndpoints, rs.buildTickets, resources.equal)
	rs.challenges = newRule(g, "challenge clusters", rankCluster, rs.buildChallengeClusters, resources.equal)
	rs.wants = newRule(g, "wants", rankEndpoints, rs.gatherWants, (*Wants).equal)
}

func same[V comparable](a, b V) bool { return a == b }

func (rs *rules) indexObjects(g *graph) {
	rs.servicesByHost = newIndex[string](g, "services by host", rankObjectIndex, model.Ref.Compare)
	rs.policiesByHost = newIndex[string](g, "policies by host", rankObjectIndex, model.Ref.Compare)
	rs.workloads = newIndex[selectorKey](g, "workloads by label", rankObjectIndex, model.Ref.Compare)
	rs.slices = newIndex[model.Ref](g, "slices by service", rankObjectIndex, model.Ref.Compare)
	rs.gatewaysByBind = newIndex[model.Bind](g, "gateways by bind", rankObjectIndex, model.Ref.Compare)
	rs.serversByHost = newIndex[serverHostKey](g, "servers by host", rankObjectIndex, model.Ref.Compare)
	rs.dynamic = newIndex[none](g, "dynamic services", rankObjectIndex, model.Ref.Compare)
	rs.settingsObjects = newIndex[none](g, "settings objects", rankObjectIndex, model.Ref.Compare)
	rs.sni = newIndex[sniKey](g, "servers by name", rankObjectIndex, model.Ref.Compare)
	rs.names = newIndex[shareKey](g, "server names", rankObjectIndex, strings.Compare)
	rs.sharedBuckets = newIndex[bucketKey](g, "shared names", rankObjectIndex, strings.Compare)
	rs.sharing = newIndex[none](g, "binds that may share", rankObjectIndex, compareBind)
	rs.forced = newIndex[none](g, "binds that must share", rankObjectIndex, compareBind)
	rs.httpBinds = newIndex[none](g, "plain HTTP binds", rankObjectIndex, compareBind)
	rs.managedHosts = newIndex[none](g, "managed hosts", rankObjectIndex, strings.Compare)
	rs.isManaged = newIndex[string](g, "managed", rankObjectIndex, func(_, _ none) int { return 0 })
	rs.pairs = newIndex[none](g, "pairs", rankObjectIndex, compareCredential)
	rs.fileNames = newIndex[none](g, "files", rankObjectIndex, strings.Compare)
}

func (rs *rules) indexAttachments(g *graph) {
	rs.class = newRule(g, "class", rankBind, rs.findClass, same[serverClass])
	rs.attach = newRule(g, "attach", rankAttach, rs.buildAttached, attached.equal)
	rs.attach.changed = rs.reindexAttached
	rs.binds = newIndex[none](g, "binds", rankAttachIndex, compareBind)
	rs.tables = newIndex[none](g, "tables", rankAttachIndex, compareTable)
	rs.hosts = newIndex[model.Table](g, "hosts", rankAttachIndex, strings.Compare)
	rs.buckets = newIndex[bucketKey](g, "host buckets", rankAttachIndex, strings.Compare)
	rs.wild = newIndex[model.Table](g, "wildcard hosts", rankAttachIndex, strings.Compare)
	rs.bindings = newIndex[hostKey](g, "bindings", rankAttachIndex, compareAttachment)
	rs.streams = newIndex[model.Bind](g, "stream bindings", rankAttachIndex, compareAttachment)
}

// set puts one object in the place of the one before it; nil removes it.
func (rs *rules) set(ref model.Ref, v model.Value) {
	before := rs.objects.values[ref]
	v = keepBetter(before, v)
	rs.objects.set(ref, v)
	b, a := rs.entriesOf(before), rs.entriesOf(v)
	rs.servicesByHost.replace(b.services, a.services)
	rs.policiesByHost.replace(b.policies, a.policies)
	rs.workloads.replace(b.workloads, a.workloads)
	rs.slices.replace(b.slices, a.slices)
	rs.gatewaysByBind.replace(b.gateways, a.gateways)
	rs.serversByHost.replace(b.servers, a.servers)
	rs.settingsObjects.replace(b.settings, a.settings)
	rs.dynamic.replace(b.dynamic, a.dynamic)
	rs.replaceNames(b.names, a.names)
	switch v.(type) {
	case *model.Gateway, *model.RouteSet:
		rs.attach.pin(ref)
	case *model.DestinationPolicy:
		rs.checked.pin(ref)
	}
}

// forget drops the roots of a removed object once its absence has settled.
func (rs *rules) forget(ref model.Ref) {
	rs.attach.unpin(ref)
	rs.checked.unpin(ref)
}

// serverHostKey is a host of a server as written, on its bind.
type serverHostKey struct {
	bind model.Bind
	host model.ServerHost
}

// objectEntries are the places of one object in the indexes of objects.
type objectEntries struct {
	services  []entry[string, model.Ref]
	policies  []entry[string, model.Ref]
	workloads []entry[selectorKey, model.Ref]
	slices    []entry[model.Ref, model.Ref]
	gateways  []entry[model.Bind, model.Ref]
	servers   []entry[serverHostKey, model.Ref]
	settings  []entry[none, model.Ref]
	dynamic   []entry[none, model.Ref]
	names     nameEntries
}

func (rs *rules) entriesOf(v model.Value) (e objectEntries) {
	switch o := v.(type) {
	case *model.Service:
		for _, h := range o.Hosts {
			e.services = append(e.services, entry[string, model.Ref]{h, o.Ref})
		}
		if o.Resolution == model.ResolutionDynamic {
			e.dynamic = append(e.dynamic, entry[none, model.Ref]{none{}, o.Ref})
		}
	case *model.DestinationPolicy:
		e.policies = append(e.policies, entry[string, model.Ref]{o.Host, o.Ref})
	case *model.Workload:
		for k, val := range o.Endpoint.Labels {
			e.workloads = append(e.workloads, entry[selectorKey, model.Ref]{selectorKey{o.Ref.Namespace, k, val}, o.Ref})
		}
	case *model.EndpointSlice:
		svc := model.Ref{Kind: "Service", Namespace: o.Ref.Namespace, Name: o.Service}
		e.slices = append(e.slices, entry[model.Ref, model.Ref]{svc, o.Ref})
	case *model.Gateway:
		for i := range o.Servers {
			s := &o.Servers[i]
			e.gateways = append(e.gateways, entry[model.Bind, model.Ref]{s.Bind, o.Ref})
			for _, h := range s.Hosts {
				e.servers = append(e.servers, entry[serverHostKey, model.Ref]{serverHostKey{s.Bind, h}, o.Ref})
			}
		}
		e.names = rs.nameEntriesOf(o)
	case *model.Settings:
		e.settings = append(e.settings, entry[none, model.Ref]{none{}, o.Ref})
	}
	return e
}
