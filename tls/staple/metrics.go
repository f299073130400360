package staple

import "github.com/prometheus/client_golang/prometheus"

// counts is what the keeper counted.
type counts struct {
	answers *prometheus.CounterVec
	staples *prometheus.GaugeVec
}

func newCounts(r prometheus.Registerer) counts {
	c := counts{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_ocsp_answers_total", Help: "Answers of OCSP responders: good, revoked, or error for none that can be used.",
		}, []string{"answer"}),
		staples: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sluice_ocsp_certificates", Help: "Certificates in use that name an OCSP responder, by whether they have a staple now.",
		}, []string{"state"}),
	}
	if r != nil {
		r.MustRegister(c.answers, c.staples)
	}
	return c
}

func (c counts) count(a answer) {
	if a.err != nil {
		c.answers.WithLabelValues("error").Inc()
		return
	}
	c.answers.WithLabelValues(string(a.response.status)).Inc()
}

// show sets the gauge to what entries have.
func (c counts) show(entries map[string]*entry) {
	var stapled, missing, gone float64
	for _, e := range entries {
		switch {
		case e.staple != nil:
			stapled++
		case e.revoked:
			gone++
		default:
			missing++
		}
	}
	c.staples.WithLabelValues("stapled").Set(stapled)
	c.staples.WithLabelValues("missing").Set(missing)
	c.staples.WithLabelValues("revoked").Set(gone)
}
