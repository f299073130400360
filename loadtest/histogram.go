package loadtest

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The range and precision of every histogram: 1 µs to 60 s, three digits.
const (
	lowestUS  = 1
	highestUS = int64(60 * time.Second / time.Microsecond)
	digits    = 3
)

// histogram collects durations.
type histogram struct{ h *hdrhistogram.Histogram }

func newHistogram() *histogram {
	return &histogram{hdrhistogram.New(lowestUS, highestUS, digits)}
}

// add records a duration; what is out of range counts as the nearest bound.
func (h *histogram) add(d time.Duration) {
	us := min(max(d.Microseconds(), lowestUS), highestUS)
	// The value is within the bounds, so that nothing can be refused.
	_ = h.h.RecordValue(us)
}

// merge adds all of o.
func (h *histogram) merge(o *histogram) { h.h.Merge(o.h) }

// millis returns the value at a percentile (0 to 100) in milliseconds.
func (h *histogram) millis(percentile float64) float64 {
	return float64(h.h.ValueAtQuantile(percentile)) / 1000
}

// measures returns count, p50, p90, p99 and max under a prefix ("" or "x_").
func (h *histogram) measures(prefix string) measures {
	m := measures{prefix + "count": float64(h.h.TotalCount())}
	for _, p := range []int{50, 90, 99} {
		m[fmt.Sprintf("%sp%d_ms", prefix, p)] = h.millis(float64(p))
	}
	m[prefix+"max_ms"] = float64(h.h.Max()) / 1000
	return m
}
