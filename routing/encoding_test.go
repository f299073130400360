package routing_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/routing"
)

// This file is the encoding of [routing.HostInput] in the golden cases: short,
// and close to how people write a VirtualService. A destination is
// "host|subset|port".

type inputText struct {
	Table         string                `json:"table"`
	Port          uint32                `json:"port"`
	Host          string                `json:"host"`
	HTTPSRedirect bool                  `json:"httpsRedirect"`
	Targets       map[string]targetText `json:"targets"`
	Proxy         routing.Proxy         `json:"proxy"`
	Sets          []setText             `json:"sets"`
}

// targetText is {} for a destination that exists.
type targetText struct {
	Reason  model.Reason `json:"reason"`
	Message string       `json:"message"`
	Hash    *hashText    `json:"hash"`
}

type hashText struct {
	Header     string            `json:"header"`
	Query      string            `json:"query"`
	SourceIP   bool              `json:"sourceIp"`
	Cookie     string            `json:"cookie"`
	Path       string            `json:"path"`
	TTL        string            `json:"ttl"`
	Attributes map[string]string `json:"attributes"`
}

type setText struct {
	Name     string   `json:"name"`
	Gateways []string `json:"gateways"`
	// Owner of its rules, "namespace/name", when they come from another set.
	Owner string     `json:"owner"`
	HTTP  []ruleText `json:"http"`
}

type ruleText struct {
	Name       string            `json:"name"`
	Match      []matchText       `json:"match"`
	Route      []destText        `json:"route"`
	Redirect   *model.Redirect   `json:"redirect"`
	DerivePort string            `json:"derivePort"`
	Direct     *directText       `json:"directResponse"`
	Fault      model.Reason      `json:"fault"`
	Rewrite    *model.Rewrite    `json:"rewrite"`
	Headers    headersText       `json:"headers"`
	Timeout    string            `json:"timeout"`
	Retries    *retriesText      `json:"retries"`
	Delay      *delayText        `json:"delay"`
	Abort      *model.FaultAbort `json:"abort"`
	Mirrors    []mirrorText      `json:"mirrors"`
	CORS       *corsText         `json:"cors"`
}

type delayText struct {
	Percent float64 `json:"percent"`
	Fixed   string  `json:"fixed"`
}

type mirrorText struct {
	To      string  `json:"to"`
	Percent float64 `json:"percent"`
}

type corsText struct {
	Origins          []stringText `json:"origins"`
	Methods          []string     `json:"methods"`
	Headers          []string     `json:"headers"`
	Expose           []string     `json:"expose"`
	MaxAge           string       `json:"maxAge"`
	Credentials      *bool        `json:"credentials"`
	ForwardUnmatched bool         `json:"forwardUnmatched"`
}

type matchText struct {
	Name           string                `json:"name"`
	URI            *stringText           `json:"uri"`
	IgnoreURICase  bool                  `json:"ignoreUriCase"`
	Scheme         *stringText           `json:"scheme"`
	Method         *stringText           `json:"method"`
	Authority      *stringText           `json:"authority"`
	Headers        map[string]stringText `json:"headers"`
	WithoutHeaders map[string]stringText `json:"withoutHeaders"`
	QueryParams    map[string]stringText `json:"queryParams"`
	Port           uint32                `json:"port"`
	Gateways       []string              `json:"gateways"`
	StatPrefix     string                `json:"statPrefix"`
	Source         map[string]string     `json:"sourceLabels"`
	Namespace      string                `json:"sourceNamespace"`
	Fault          model.Reason          `json:"fault"`
}

// stringText is {} for presence.
type stringText struct {
	Exact  *string `json:"exact"`
	Prefix *string `json:"prefix"`
	Regex  *string `json:"regex"`
}

type destText struct {
	To      string      `json:"to"`
	Weight  uint32      `json:"weight"`
	Headers headersText `json:"headers"`
}

type directText struct {
	Status uint32 `json:"status"`
	Body   string `json:"body"`
}

type headersText struct {
	Request   changesText `json:"request"`
	Response  changesText `json:"response"`
	Authority string      `json:"authority"`
}

type changesText struct {
	Set    map[string]string `json:"set"`
	Add    map[string]string `json:"add"`
	Remove []string          `json:"remove"`
}

type retriesText struct {
	Attempts            uint32   `json:"attempts"`
	PerTryTimeout       string   `json:"perTryTimeout"`
	RetryOn             []string `json:"retryOn"`
	StatusCodes         []uint32 `json:"statusCodes"`
	RemoteLocalities    *bool    `json:"remoteLocalities"`
	IgnorePreviousHosts *bool    `json:"ignorePreviousHosts"`
	Backoff             string   `json:"backoff"`
}

// readInput decodes one golden input; an unknown key fails the test.
func readInput(t *testing.T, text []byte) routing.HostInput {
	t.Helper()
	var in inputText
	if err := yaml.UnmarshalStrict(text, &in); err != nil {
		t.Fatal(err)
	}
	out := routing.HostInput{
		Table:         cmp.Or(in.Table, "http.80"),
		Port:          cmp.Or(in.Port, 80),
		Host:          in.Host,
		HTTPSRedirect: in.HTTPSRedirect,
		Proxy:         in.Proxy,
		Targets:       map[model.Destination]model.Target{},
	}
	for name, target := range in.Targets {
		d := destination(t, name)
		if target.Reason == "" {
			out.Targets[d] = model.Target{Cluster: model.ClusterName(d), Hash: target.Hash.hash(t)}
		} else {
			out.Targets[d] = model.Target{Reason: target.Reason, Message: target.Message}
		}
	}
	for _, set := range in.Sets {
		out.Bindings = append(out.Bindings, set.binding(t))
	}
	return out
}

func (s setText) binding(t *testing.T) routing.Binding {
	namespace, name, _ := strings.Cut(s.Name, "/")
	set := &model.RouteSet{Meta: model.Meta{Ref: model.Ref{
		Group: "networking.istio.io", Kind: "VirtualService", Namespace: namespace, Name: name,
	}}}
	for i, text := range s.HTTP {
		rule := text.rule(t, fmt.Sprintf("spec.http[%d]", i))
		if s.Owner != "" {
			rule.Owner = set.Ref
			rule.Owner.Namespace, rule.Owner.Name, _ = strings.Cut(s.Owner, "/")
		}
		set.HTTP = append(set.HTTP, rule)
	}
	return routing.Binding{Set: set, Gateways: gateways(s.Gateways)}
}

func (r ruleText) rule(t *testing.T, field string) model.HTTPRule {
	out := model.HTTPRule{
		Field: field, Name: r.Name,
		Redirect: r.Redirect, Rewrite: r.Rewrite,
		Headers: r.Headers.operations(), Timeout: period(t, r.Timeout),
	}
	for i, m := range r.Match {
		out.Matches = append(out.Matches, m.match(fmt.Sprintf("%s.match[%d]", field, i)))
	}
	for i, d := range r.Route {
		out.Route = append(out.Route, model.WeightedDestination{
			Field:       fmt.Sprintf("%s.route[%d]", field, i),
			Destination: destination(t, d.To), Weight: d.Weight, Headers: d.Headers.operations(),
		})
	}
	switch r.DerivePort {
	case "FROM_PROTOCOL_DEFAULT":
		out.Redirect.DerivePort = model.RedirectPortProtocolDefault
	case "FROM_REQUEST_PORT":
		out.Redirect.DerivePort = model.RedirectPortRequest
	}
	if r.Direct != nil {
		out.Direct = &model.DirectResponse{Status: r.Direct.Status, Body: []byte(r.Direct.Body)}
	}
	if r.Fault != "" {
		out.Fault = &model.RuleFault{Reason: r.Fault}
	}
	if r.Retries != nil {
		out.Retries = r.Retries.retries(t)
	}
	for i, m := range r.Mirrors {
		out.Mirrors = append(out.Mirrors, model.Mirror{
			Field: fmt.Sprintf("%s.mirrors[%d]", field, i), Destination: destination(t, m.To), Percent: m.Percent,
		})
	}
	out.Inject, out.CORS = r.inject(t), r.CORS.policy(t)
	return out
}

func (r ruleText) inject(t *testing.T) *model.FaultInjection {
	if r.Delay == nil && r.Abort == nil {
		return nil
	}
	out := &model.FaultInjection{Abort: r.Abort}
	if r.Delay != nil {
		out.Delay = &model.FaultDelay{Percent: r.Delay.Percent, Fixed: *period(t, r.Delay.Fixed)}
	}
	return out
}

func (c *corsText) policy(t *testing.T) *model.CORSPolicy {
	if c == nil {
		return nil
	}
	out := &model.CORSPolicy{
		AllowMethods: c.Methods, AllowHeaders: c.Headers, ExposeHeaders: c.Expose, MaxAge: period(t, c.MaxAge),
		AllowCredentials: c.Credentials, ForwardUnmatched: c.ForwardUnmatched,
	}
	for _, o := range c.Origins {
		out.AllowOrigins = append(out.AllowOrigins, *o.match())
	}
	return out
}

func (h *hashText) hash(t *testing.T) *model.ConsistentHash {
	if h == nil {
		return nil
	}
	out := &model.ConsistentHash{Header: h.Header, QueryParameter: h.Query, SourceIP: h.SourceIP}
	if h.Cookie != "" {
		out.Cookie = &model.HashCookie{Name: h.Cookie, Path: h.Path, TTL: period(t, h.TTL)}
		for _, name := range slices.Sorted(maps.Keys(h.Attributes)) {
			out.Cookie.Attributes = append(out.Cookie.Attributes, model.HeaderValue{Name: name, Value: h.Attributes[name]})
		}
	}
	return out
}

func (m matchText) match(field string) model.Match {
	out := model.Match{
		Field: field, Name: m.Name, IgnoreURICase: m.IgnoreURICase,
		URI: m.URI.match(), Scheme: m.Scheme.match(), Method: m.Method.match(), Authority: m.Authority.match(),
		Headers: keys(m.Headers), WithoutHeaders: keys(m.WithoutHeaders), QueryParams: keys(m.QueryParams),
		Port: m.Port, MeshOnly: slices.Equal(m.Gateways, []string{"mesh"}),
		StatPrefix: m.StatPrefix, SourceLabels: m.Source, SourceNamespace: m.Namespace,
	}
	if !out.MeshOnly {
		out.Gateways = gateways(m.Gateways)
	}
	if m.Fault != "" {
		out.Fault = &model.RuleFault{Reason: m.Fault}
	}
	return out
}

func (s *stringText) match() *model.StringMatch {
	switch {
	case s == nil:
		return nil
	case s.Exact != nil:
		return &model.StringMatch{Kind: model.MatchExact, Value: *s.Exact}
	case s.Prefix != nil:
		return &model.StringMatch{Kind: model.MatchPrefix, Value: *s.Prefix}
	case s.Regex != nil:
		return &model.StringMatch{Kind: model.MatchRegex, Value: *s.Regex}
	}
	return &model.StringMatch{Kind: model.MatchPresent}
}

func keys(in map[string]stringText) []model.KeyMatch {
	var out []model.KeyMatch
	for _, key := range slices.Sorted(maps.Keys(in)) {
		s := in[key]
		out = append(out, model.KeyMatch{Key: key, StringMatch: *s.match()})
	}
	return out
}

func (h headersText) operations() model.HeaderOperations {
	return model.HeaderOperations{
		Request: h.Request.changes(), Response: h.Response.changes(), SetAuthority: h.Authority,
	}
}

func (c changesText) changes() model.HeaderChanges {
	list := func(in map[string]string) []model.HeaderValue {
		var out []model.HeaderValue
		for _, name := range slices.Sorted(maps.Keys(in)) {
			out = append(out, model.HeaderValue{Name: name, Value: in[name]})
		}
		return out
	}
	return model.HeaderChanges{Set: list(c.Set), Add: list(c.Add), Remove: c.Remove}
}

func (r retriesText) retries(t *testing.T) *model.Retries {
	return &model.Retries{
		Attempts: r.Attempts, PerTryTimeout: period(t, r.PerTryTimeout), RetryOn: r.RetryOn,
		StatusCodes: r.StatusCodes, RemoteLocalities: r.RemoteLocalities,
		IgnorePreviousHosts: r.IgnorePreviousHosts, Backoff: period(t, r.Backoff),
	}
}

func destination(t *testing.T, text string) model.Destination {
	t.Helper()
	parts := strings.Split(text, "|")
	if len(parts) != 3 {
		t.Fatalf("destination %q is not host|subset|port", text)
	}
	port, err := strconv.ParseUint(parts[2], 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return model.Destination{Host: parts[0], Subset: parts[1], Port: uint32(port)}
}

func gateways(names []string) []model.GatewayRef {
	var out []model.GatewayRef
	for _, n := range names {
		namespace, name, _ := strings.Cut(n, "/")
		out = append(out, model.GatewayRef{Namespace: namespace, Name: name})
	}
	return out
}

func period(t *testing.T, text string) *time.Duration {
	t.Helper()
	if text == "" {
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return &d
}
