package gateway

import (
	"maps"
	"slices"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	onDemandName = "on-demand"
	// refusedName is the chain of names that no host can have.
	refusedName = "refused"
	// possibleName are the characters of host names, as RE2.
	possibleName = `[A-Za-z0-9._-]{1,255}`
	// anyName is every other name, of whatever bytes.
	anyName = `\C+`
)

// matchNames has the listener of a shared chain choose its chains by a tree, in
// the order in which Envoy chooses by server_names: the exact name, the longest
// wildcard, the rest. It takes the place of the conditions of the chains, which
// cannot say what has to come first: a name that no host can have is refused
// before anybody asks for its certificate. Names of certificates have a slash, so
// that a client who sends one would subscribe to it; and a name that is no UTF-8
// can be asked for, but never answered, and Envoy would keep it for good.
//
// Validators of challenged hosts, and of names below challenged wildcards, go to the
// chain of that name.
func matchNames(l *listenerv3.Listener, challenged []string) {
	chains := nameChains{}
	for _, c := range l.GetFilterChains() {
		match := c.GetFilterChainMatch()
		c.FilterChainMatch = nil
		for _, name := range match.GetServerNames() {
			chains[name] = c.GetName()
		}
	}
	chains["*"] = onDemandName
	next := chains.choose()
	if len(challenged) > 0 {
		validated := maps.Clone(chains)
		for _, host := range challenged {
			validated[host] = challengeChainName
		}
		// Envoy compares the whole list of protocols, each in quotes.
		protocol := map[string]*xdsmatcherv3.Matcher_OnMatch{"'" + acmeALPN + "'": validated.choose()}
		next = toMatcher(tree(&networkv3.ApplicationProtocolInput{}, protocol, next))
	}
	l.FilterChains = append(l.FilterChains, &listenerv3.FilterChain{Name: refusedName})
	l.FilterChainMatcher = list([]*xdsmatcherv3.Matcher_MatcherList_FieldMatcher{
		when(regexOf(possibleName), next), when(regexOf(anyName), toChain(refusedName)),
	}, toChain(onDemandName)) // no name at all
}

// nameChains are the names of chains by the server names that choose them: exact
// ones, "*.example.com", and "*" for the rest.
type nameChains map[string]string

// choose returns what finds the chain of a server name: the exact one, the longest
// wildcard, or the rest.
func (n nameChains) choose() *xdsmatcherv3.Matcher_OnMatch {
	exact := map[string]*xdsmatcherv3.Matcher_OnMatch{}
	var wild []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher
	for _, name := range slices.Sorted(maps.Keys(n)) {
		switch suffix, isWild := strings.CutPrefix(name, "*"); {
		case !isWild:
			exact[name] = toChain(n[name])
		case suffix != "":
			wild = append(wild, when(suffixOf(suffix), toChain(n[name])))
		}
	}
	slices.SortStableFunc(wild, func(a, b *xdsmatcherv3.Matcher_MatcherList_FieldMatcher) int {
		return len(suffixIn(b)) - len(suffixIn(a)) // longest first
	})
	next := toChain(n["*"])
	if len(wild) > 0 {
		next = toMatcher(list(wild, next))
	}
	if len(exact) > 0 {
		next = toMatcher(tree(&networkv3.ServerNameInput{}, exact, next))
	}
	return next
}

func toChain(name string) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: typed("chain", wrapperspb.String(name))}}
}

func toMatcher(m *xdsmatcherv3.Matcher) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Matcher{Matcher: m}}
}

func tree(input proto.Message, of map[string]*xdsmatcherv3.Matcher_OnMatch, rest *xdsmatcherv3.Matcher_OnMatch) *xdsmatcherv3.Matcher {
	return &xdsmatcherv3.Matcher{
		OnNoMatch: rest,
		MatcherType: &xdsmatcherv3.Matcher_MatcherTree_{MatcherTree: &xdsmatcherv3.Matcher_MatcherTree{
			Input: typed("input", input),
			TreeType: &xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap{
				ExactMatchMap: &xdsmatcherv3.Matcher_MatcherTree_MatchMap{Map: of},
			},
		}},
	}
}

func list(of []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher, rest *xdsmatcherv3.Matcher_OnMatch) *xdsmatcherv3.Matcher {
	return &xdsmatcherv3.Matcher{
		OnNoMatch:   rest,
		MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: &xdsmatcherv3.Matcher_MatcherList{Matchers: of}},
	}
}

// when is one entry of a list: a condition on the server name.
func when(name *xdsmatcherv3.StringMatcher, then *xdsmatcherv3.Matcher_OnMatch) *xdsmatcherv3.Matcher_MatcherList_FieldMatcher {
	return &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{
		OnMatch: then,
		Predicate: &xdsmatcherv3.Matcher_MatcherList_Predicate{
			MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
				SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
					Input:   typed("name", &networkv3.ServerNameInput{}),
					Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: name},
				},
			},
		},
	}
}

func suffixOf(suffix string) *xdsmatcherv3.StringMatcher {
	return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Suffix{Suffix: suffix}}
}

func suffixIn(m *xdsmatcherv3.Matcher_MatcherList_FieldMatcher) string {
	return m.GetPredicate().GetSinglePredicate().GetValueMatch().GetSuffix()
}

func regexOf(regex string) *xdsmatcherv3.StringMatcher {
	return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_SafeRegex{SafeRegex: &xdsmatcherv3.RegexMatcher{
		EngineType: &xdsmatcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &xdsmatcherv3.RegexMatcher_GoogleRE2{}}, Regex: regex,
	}}}
}

func typed(name string, config proto.Message) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: pack(config)}
}
