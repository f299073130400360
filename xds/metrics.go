package xds

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicegw/sluice/model"
)

// counts is what the server counted; it is a [prometheus.Collector].
type counts struct {
	types        map[model.ResourceType]*typeCounts // fixed after newCounts
	acks         atomic.Uint64
	rounds       atomic.Uint64
	needTimeouts atomic.Uint64
	streams      atomic.Int64

	durations prometheus.Histogram
	desc      descs
}

// typeCounts is counted per type; "other" is every type that is not ours.
type typeCounts struct {
	resources, removals, bytes, nacks atomic.Uint64
}

// pushed is what one response carried.
type pushed struct{ resources, removals, bytes int }

const otherTypes model.ResourceType = "other"

type descs struct {
	resources, removals, bytes, nacks   *prometheus.Desc
	acks, rounds, needTimeouts, streams *prometheus.Desc
}

func newCounts(steps []step) *counts {
	perType := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{"type"}, nil)
	}
	plain := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	c := &counts{
		types: map[model.ResourceType]*typeCounts{otherTypes: {}},
		durations: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sluice_xds_round_duration_seconds",
			Help:    "Time from the first step of a round that sent something to the answer to its last.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}),
		desc: descs{
			resources:    perType("sluice_xds_pushed_resources_total", "Resources sent to proxies."),
			removals:     perType("sluice_xds_pushed_removals_total", "Names sent to proxies as removed or absent."),
			bytes:        perType("sluice_xds_pushed_bytes_total", "Bytes of the resources sent to proxies."),
			nacks:        perType("sluice_xds_nacks_total", "Responses that proxies refused."),
			acks:         plain("sluice_xds_acks_total", "Responses that proxies acknowledged."),
			rounds:       plain("sluice_xds_rounds_total", "Rounds that sent something and ended."),
			needTimeouts: plain("sluice_xds_need_timeouts_total", "Needed resources that a proxy never asked for."),
			streams:      plain("sluice_xds_streams", "Open streams."),
		},
	}
	for _, st := range steps {
		for _, t := range st.types {
			c.types[t] = &typeCounts{}
		}
	}
	return c
}

func (c *counts) of(t model.ResourceType) *typeCounts {
	if tc := c.types[t]; tc != nil {
		return tc
	}
	return c.types[otherTypes]
}

func (c *counts) pushed(t model.ResourceType, p pushed) {
	tc := c.of(t)
	tc.resources.Add(uint64(p.resources))
	tc.removals.Add(uint64(p.removals))
	tc.bytes.Add(uint64(p.bytes))
}

func (c *counts) nack(t model.ResourceType) { c.of(t).nacks.Add(1) }

func (c *counts) round(took time.Duration) {
	c.rounds.Add(1)
	c.durations.Observe(took.Seconds())
}

// Describe implements [prometheus.Collector].
func (c *counts) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements [prometheus.Collector].
func (c *counts) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for t, tc := range c.types {
		count(c.desc.resources, tc.resources.Load(), t.Short())
		count(c.desc.removals, tc.removals.Load(), t.Short())
		count(c.desc.bytes, tc.bytes.Load(), t.Short())
		count(c.desc.nacks, tc.nacks.Load(), t.Short())
	}
	count(c.desc.acks, c.acks.Load())
	count(c.desc.rounds, c.rounds.Load())
	count(c.desc.needTimeouts, c.needTimeouts.Load())
	ch <- prometheus.MustNewConstMetric(c.desc.streams, prometheus.GaugeValue, float64(c.streams.Load()))
	c.durations.Collect(ch)
}

// Counts is a copy of what a [Server] counted since it was made.
type Counts struct {
	Resources, Removals, Bytes, NACKs map[model.ResourceType]uint64
	ACKs, Rounds, NeedTimeouts        uint64
	Streams                           int64
}

// Counts returns what the server counted so far; types that are not ours are
// counted as "other".
func (s *Server) Counts() Counts {
	c := s.counts
	out := Counts{
		Resources: make(map[model.ResourceType]uint64), Removals: make(map[model.ResourceType]uint64),
		Bytes: make(map[model.ResourceType]uint64), NACKs: make(map[model.ResourceType]uint64),
		ACKs: c.acks.Load(), Rounds: c.rounds.Load(), NeedTimeouts: c.needTimeouts.Load(), Streams: c.streams.Load(),
	}
	for t, tc := range c.types {
		out.Resources[t], out.Removals[t] = tc.resources.Load(), tc.removals.Load()
		out.Bytes[t], out.NACKs[t] = tc.bytes.Load(), tc.nacks.Load()
	}
	return out
}
