// Package loadtest measures a running Sluice from outside: how long a change on
// disk takes until a client sees it, and what it costs.
//
// What goes in: the paths of the sluice and Envoy binaries and the [Options] of
// a scenario. What comes out: a [Result], a flat list of named figures, and from
// [Bench] the verdict of budgets.yaml. It alone decides how a figure is taken.
// It knows Sluice only by its command line, its files and its admin API, and
// sends requests to 127.0.0.1 only. Whatever it starts ends with it.
package loadtest

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

// Options are the size of the world and of the experiment. A zero value means
// the scenario's default.
type Options struct {
	Hosts    int `yaml:"hosts" json:"hosts"`
	Services int `yaml:"services" json:"services"`
	// Edits is how many changes are measured, one after the other.
	Edits int `yaml:"edits" json:"edits,omitempty"`
	// ScopedAbove is passed to sluice when given.
	ScopedAbove *int `yaml:"scoped-above" json:"scoped_above,omitempty"`
	// RPS is the rate of the open-loop load, in requests per second.
	RPS int `yaml:"rps" json:"rps,omitempty"`
	// EditsPerSecond is the rate of unmeasured edits in the background.
	EditsPerSecond int `yaml:"edits-per-second" json:"edits_per_second,omitempty"`
	// Seconds is how long each side of a comparison runs in all.
	Seconds int `yaml:"seconds" json:"seconds,omitempty"`
	// Starts is how often the proxies of a comparison are started anew.
	Starts int `yaml:"starts" json:"starts,omitempty"`
	// Routes is how many routes the host of last-route has.
	Routes int `yaml:"routes" json:"routes,omitempty"`
	// Connections is how many connections saturate a proxy.
	Connections int `yaml:"connections" json:"connections,omitempty"`
	// Names is how many server names that no host has are asked for.
	Names int `yaml:"names" json:"names,omitempty"`
}

// Place is where to find the programs and where to write.
type Place struct {
	Sluice string    // path of the sluice binary
	Envoy  string    // path of the Envoy binary
	Log    io.Writer // progress, one line each
}

// Result is what one run of a scenario measured. Names of measures end in their
// unit; without one they are counts or ratios.
type Result struct {
	Scenario string             `json:"scenario"`
	Options  Options            `json:"options"`
	Started  time.Time          `json:"started"`
	TookS    float64            `json:"took_s"`
	CPUs     int                `json:"cpus"`
	Measures map[string]float64 `json:"measures"`
}

// Scenario is one experiment.
type Scenario struct {
	Name string
	// Usage is one line for people.
	Usage string
	// Default fills what the caller leaves at zero.
	Default Options
	// Limit bounds the whole run.
	Limit time.Duration
	run   func(context.Context, *lab) (measures, error)
}

// measures are figures by name.
type measures map[string]float64

// add copies all of o into m.
func (m measures) add(o measures) {
	for k, v := range o {
		m[k] = v
	}
}

// limit bounds a run of any scenario.
const limit = 10 * time.Minute

// Scenarios lists what can be measured.
func Scenarios() []Scenario {
	return slices.Concat(changeScenarios(), trafficScenarios(), secureScenarios())
}

// changeScenarios measure how changes arrive.
func changeScenarios() []Scenario {
	return []Scenario{
		{
			"load", "from the start of sluice until every host on disk answers; memory afterwards",
			Options{Hosts: 1000, Services: 100},
			limit, runLoad,
		},
		{
			"add", "from the rename of a new host's file to its first answer",
			Options{Hosts: 1000, Edits: 200},
			limit, runAdd,
		},
		{
			"edit", "from the rename of an edited host's file to the first answer of the new route",
			Options{Hosts: 1000, Edits: 300},
			limit, runEdit,
		},
		{
			"edit-under-load", "edits that create and remove destinations under a steady load; counts what was lost",
			Options{Hosts: 1000, Edits: 300, RPS: 300},
			limit, runEditUnderLoad,
		},
		{
			"churn", "adding hosts while others are edited all the time",
			Options{Hosts: 3000, Edits: 100, EditsPerSecond: 20},
			limit, runChurn,
		},
		{
			"endpoints", "endpoints and routes edited while endpoints of as many services change all the time",
			Options{Hosts: 1000, Edits: 200, EditsPerSecond: 1000},
			limit, runEndpoints,
		},
	}
}

// trafficScenarios measure what traffic costs.
func trafficScenarios() []Scenario {
	return []Scenario{
		{
			"throughput", "requests per second and p99 against a static Envoy with the same routes, in turns",
			Options{Hosts: 100, Seconds: 24, Starts: 8, Connections: 16},
			limit, runThroughput,
		},
		{
			"tcp", "messages per second on TCP connections against a static Envoy, in turns",
			Options{Hosts: 2, Seconds: 16, Starts: 8, Connections: 16},
			limit, runTCP,
		},
		{
			"tls-passthrough", "connections per second routed by server name against a static Envoy, in turns",
			Options{Hosts: 2, Seconds: 16, Starts: 8, Connections: 16},
			limit, runPassthrough,
		},
		{
			"websocket", "messages per second on WebSockets against a static Envoy, in turns",
			Options{Hosts: 2, Seconds: 16, Starts: 8, Connections: 16},
			limit, runWebSocket,
		},
		{
			"grpc", "unary calls per second against a static Envoy, in turns",
			Options{Hosts: 2, Seconds: 16, Starts: 8, Connections: 16},
			limit, runGRPC,
		},
		{
			"last-route", "requests per second of the last of many routes of a host against the first, in turns",
			Options{Hosts: 2, Routes: 5000, Seconds: 12, Starts: 1, Connections: 16},
			limit, runLastRoute,
		},
	}
}

// secureScenarios measure TLS that ends at the gateway.
func secureScenarios() []Scenario {
	return []Scenario{
		{
			"handshakes", "TLS handshakes per second, full and resumed, against a static Envoy with the same certificates, in turns",
			Options{Hosts: 2, Seconds: 16, Starts: 8, Connections: 16},
			limit, runHandshakes,
		},
		{
			"certificates", "many hosts of HTTPS on one port: load, new hosts, new certificates, and names that are not there",
			Options{Hosts: 1000, Edits: 30, Names: 20_000},
			limit, runCertificates,
		},
	}
}

// Find returns the scenario of a name.
func Find(name string) (Scenario, error) {
	for _, s := range Scenarios() {
		if s.Name == name {
			return s, nil
		}
	}
	return Scenario{}, fmt.Errorf("no scenario %q", name)
}

// Run runs a scenario once, in a fresh world that is gone afterwards.
func (s Scenario) Run(ctx context.Context, place Place, o Options) (Result, error) {
	o = o.or(s.Default)
	if err := o.check(); err != nil {
		return Result{}, fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	started := time.Now()
	l, err := newLab(place, o)
	if err != nil {
		return Result{}, fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	defer l.close()
	got, err := s.run(ctx, l)
	if err != nil {
		return Result{}, fmt.Errorf("scenario %s: %w", s.Name, l.explain(err))
	}
	return Result{
		Scenario: s.Name, Options: o, Started: started.UTC().Truncate(time.Second),
		TookS: time.Since(started).Seconds(), CPUs: runtime.NumCPU(), Measures: got,
	}, nil
}

// or returns o with zero fields taken from d, and a tenth of the hosts as the
// number of services, at least 2 and at most 100.
func (o Options) or(d Options) Options {
	pick := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	pick(&o.Hosts, d.Hosts)
	pick(&o.Services, d.Services)
	pick(&o.Services, min(max(o.Hosts/10, 2), 100))
	pick(&o.Edits, d.Edits)
	pick(&o.RPS, d.RPS)
	pick(&o.EditsPerSecond, d.EditsPerSecond)
	pick(&o.Seconds, d.Seconds)
	pick(&o.Starts, d.Starts)
	pick(&o.Routes, d.Routes)
	pick(&o.Connections, d.Connections)
	pick(&o.Names, d.Names)
	if o.ScopedAbove == nil {
		o.ScopedAbove = d.ScopedAbove
	}
	return o
}

// check refuses what would never end or measure nothing.
func (o Options) check() error {
	for _, c := range []struct {
		name       string
		value      int
		least, max int
	}{
		{"hosts", o.Hosts, 1, 99_999},
		{"services", o.Services, 2, 999},
		{"edits", o.Edits, 0, 10_000},
		{"rps", o.RPS, 0, 20_000},
		{"edits-per-second", o.EditsPerSecond, 0, 1000},
		{"seconds", o.Seconds, 0, 300},
		{"starts", o.Starts, 0, 50},
		{"routes", o.Routes, 0, 50_000},
		{"connections", o.Connections, 0, 256},
		{"names", o.Names, 0, 200_000},
	} {
		if c.value < c.least || c.value > c.max {
			return fmt.Errorf("%s is %d; give %d to %d", c.name, c.value, c.least, c.max)
		}
	}
	return nil
}
