package loadtest

import (
	"context"
	"fmt"
	"time"
)

// cost is what sluice and its Envoy have used up so far.
type cost struct {
	resources, bytes float64 // pushed to proxies
	mallocs          float64 // heap objects ever allocated by sluice
	sluice, envoy    time.Duration
	envoyPID         int
}

// costs reads the counters.
func (l *lab) costs(ctx context.Context) (cost, error) {
	var c cost
	s, err := scrape(ctx, l.admin+"/metrics")
	if err != nil {
		return c, err
	}
	for name, to := range map[string]*float64{
		"sluice_xds_pushed_resources_total": &c.resources,
		"sluice_xds_pushed_bytes_total":     &c.bytes,
		"go_memstats_mallocs_total":         &c.mallocs,
	} {
		v, ok := s.sum(name)
		if !ok {
			return c, fmt.Errorf("metric %s is missing at %s/metrics", name, l.admin)
		}
		*to = v
	}
	if c.envoyPID, err = envoyOf(l.sluice.pid()); err != nil {
		return c, err
	}
	own, err := statOf(l.sluice.pid())
	if err != nil {
		return c, err
	}
	envoy, err := statOf(c.envoyPID)
	if err != nil {
		return c, err
	}
	c.sluice, c.envoy = own.cpu, envoy.cpu
	return c, nil
}

// per returns what n changes have cost between two readings.
func (c cost) per(n int, before cost) measures {
	each := float64(n)
	return measures{
		"pushed_resources_per_edit": (c.resources - before.resources) / each,
		"pushed_bytes_per_edit":     (c.bytes - before.bytes) / each,
		"sluice_allocs_per_edit":    (c.mallocs - before.mallocs) / each,
		"sluice_cpu_ms_per_edit":    millis(c.sluice-before.sluice) / each,
		"envoy_cpu_ms_per_edit":     millis(c.envoy-before.envoy) / each,
	}
}

// counted runs n changes and returns their cost, and memory afterwards.
func (l *lab) counted(ctx context.Context, n int, changes func() (measures, error)) (measures, error) {
	before, err := l.costs(ctx)
	if err != nil {
		return nil, err
	}
	m, err := changes()
	if err != nil {
		return nil, err
	}
	after, err := l.costs(ctx)
	if err != nil {
		return nil, err
	}
	m.add(after.per(n, before))
	mem, err := l.memory(after.envoyPID)
	if err != nil {
		return nil, err
	}
	m.add(mem)
	return m, nil
}

// memory returns what both processes hold.
func (l *lab) memory(envoy int) (measures, error) {
	m := measures{}
	for name, pid := range map[string]int{"sluice": l.sluice.pid(), "envoy": envoy} {
		rss, peak, err := memoryOf(pid)
		if err != nil {
			return nil, err
		}
		m[name+"_rss_mb"], m[name+"_peak_mb"] = rss, peak
	}
	return m, nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
