package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicegw/sluice/compile"
	"github.com/sluicegw/sluice/proxy"
	"github.com/sluicegw/sluice/status"
)

// pipelineMetrics count what a change costs.
type pipelineMetrics struct {
	changes  prometheus.Counter
	compile  prometheus.Histogram
	rules    *prometheus.CounterVec
	upserts  prometheus.Counter
	removals prometheus.Counter
}

func newPipelineMetrics(r prometheus.Registerer) *pipelineMetrics {
	m := &pipelineMetrics{
		changes: prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_changes_total", Help: "Changes published."}),
		compile: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_compile_seconds", Help: "Time to compile one change.",
			Buckets: prometheus.ExponentialBuckets(50e-6, 4, 10),
		}),
		rules:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sluice_compile_rules_total", Help: "Results computed, by rule."}, []string{"rule"}),
		upserts:  prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_compile_upserts_total", Help: "Resources new or changed."}),
		removals: prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_compile_removals_total", Help: "Resources removed."}),
	}
	r.MustRegister(m.changes, m.compile, m.rules, m.upserts, m.removals)
	return m
}

func (m *pipelineMetrics) observe(took time.Duration, res compile.Result) {
	m.changes.Inc()
	m.compile.Observe(took.Seconds())
	m.upserts.Add(float64(len(res.Change.Upserts)))
	m.removals.Add(float64(len(res.Change.Removals)))
	for name, n := range res.Ran {
		m.rules.WithLabelValues(name).Add(float64(n))
	}
}

// registerGatewayMetrics adds what the board and the supervisor know.
func registerGatewayMetrics(r prometheus.Registerer, board *status.Board, s *proxy.Supervisor) {
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("sluice_generation", "Latest published generation.", func() float64 { return float64(board.Counts().Generation) })
	gauge("sluice_live_generation", "Generation that every proxy has reached.", func() float64 { return float64(board.Counts().Live) })
	gauge("sluice_objects", "Objects read.", func() float64 { return float64(board.Counts().Objects) })
	gauge("sluice_objects_with_problems", "Objects, files and proxies that have a problem.", func() float64 { return float64(board.Counts().WithProblems) })
	gauge("sluice_envoy_restarts_total", "Restarts of Envoy after a crash.", func() float64 { return float64(s.State().Restarts) })
	gauge("sluice_envoy_running", "1 while Envoy serves.", func() float64 {
		if p := s.State().Phase; p == proxy.PhaseRunning || p == proxy.PhaseRestarting {
			return 1
		}
		return 0
	})
}
