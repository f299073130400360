package acme

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics tells the metrics of a Manager.
type metrics struct {
	manager    *Manager
	registerer prometheus.Registerer // nil: nobody asks
	expiry     *prometheus.Desc
	orders     *prometheus.CounterVec
}

func newMetrics(m *Manager, r prometheus.Registerer) (*metrics, error) {
	out := &metrics{
		manager: m, registerer: r,
		expiry: prometheus.NewDesc("sluice_certificate_expiry_seconds",
			"Unix time at which the automatic certificate of a host expires.", []string{"host"}, nil),
		orders: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_acme_orders_total",
			Help: "Orders of certificates by authority and result: issued, failed, or refused by the budget before they went out.",
		}, []string{"issuer", "result"}),
	}
	if r == nil {
		return out, nil
	}
	if err := r.Register(out); err != nil {
		return nil, fmt.Errorf("register the metrics of automatic certificates: %w", err)
	}
	return out, nil
}

func (m *metrics) close() {
	if m.registerer != nil {
		m.registerer.Unregister(m)
	}
}

func (m *metrics) order(issuer, result string) { m.orders.WithLabelValues(issuer, result).Inc() }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.expiry
	m.orders.Describe(out)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	for _, s := range m.manager.Status() {
		if !s.NotAfter.IsZero() {
			out <- prometheus.MustNewConstMetric(m.expiry, prometheus.GaugeValue, float64(s.NotAfter.Unix()), s.Host)
		}
	}
	m.orders.Collect(out)
}
