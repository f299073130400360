package e2e

import (
	"fmt"
	"testing"
)

// A new endpoint gets its share by and by under a warm-up, and at once without.
// When it arrives, the one that was there is warm itself only after a while,
// and a slow machine may take too long over the requests; therefore new ones
// arrive until one is seen cold. Without a warm-up that can never be.
func TestWarmup(t *testing.T) {
	t.Parallel()
	const n = 40
	cases := map[string]struct {
		balancer string
		cold     bool
	}{
		"block":   {"{simple: ROUND_ROBIN, warmup: {duration: 5s, minimumPercent: 5}}", true},
		"least":   {"{simple: LEAST_REQUEST, warmup: {duration: 5s}}", true},
		"seconds": {"{simple: ROUND_ROBIN, warmupDurationSecs: 5s}", true},
		"none":    {"{simple: ROUND_ROBIN}", false},
		"short":   {"{simple: ROUND_ROBIN, warmup: {duration: 1ms}}", false},
	}
	files := map[string]string{"gateway.yaml": edge("*")}
	first := map[string]*origin{}
	for name, c := range cases {
		first[name] = newOrigin(t, name+"-first")
		files[name+".yaml"] = reached(name, []*origin{first[name]}, "{loadBalancer: "+c.balancer+"}")
	}
	w := newWorld(t, files).run().settled()
	w.flawless()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, turn := w.in(t), 0
			// arrive puts a new endpoint beside the first and returns its share.
			arrive := func() (fresh *origin, share int) {
				turn++
				fresh = newOrigin(t, name+itoa(turn))
				w.write(name+".yaml", reached(name, []*origin{first[name], fresh}, "{loadBalancer: "+c.balancer+"}"))
				w.wait()
				return fresh, w.spread(query{host: name + ".test"}, n)[fresh.name]
			}
			if !c.cold {
				for range 3 {
					if fresh, share := arrive(); share < n/2-3 || share > n/2+3 {
						t.Errorf("%s gets %d of %d requests at once, want half", fresh.name, share, n)
					}
				}
				return
			}
			var fresh *origin
			w.eventually("a new endpoint gets little", func() (err error) {
				share := 0
				if fresh, share = arrive(); share > n/4 {
					err = fmt.Errorf("%s gets %d of %d requests", fresh.name, share, n)
				}
				return err
			})
			w.eventually("it gets its share later", func() error {
				if share := w.spread(query{host: name + ".test"}, n)[fresh.name]; share < n/2-5 {
					return fmt.Errorf("%s gets %d of %d requests", fresh.name, share, n)
				}
				return nil
			})
		})
	}
}
