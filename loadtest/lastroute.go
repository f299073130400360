package loadtest

import (
	"context"
	"fmt"
	"strings"
)

// manyHost is the host with many routes.
const manyHost = "many.load.test"

// routePath is the path of the n-th route: every other is a prefix.
func routePath(n int) string { return fmt.Sprintf("/r%05d/", n) }

// manyRoutes declares a host with n routes, which go to the services in turn.
func (w *world) manyRoutes(n int) file {
	var out strings.Builder
	fmt.Fprintf(&out, `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: many}
spec:
  hosts: [%s]
  gateways: [load]
  http:
`, manyHost)
	for i := range n {
		kind := []string{"prefix", "exact"}[i%2]
		fmt.Fprintf(&out, "  - match: [{uri: {%s: %s}}]\n    route: [{destination: {host: %s, port: {number: 80}}}]\n",
			kind, routePath(i), serviceHost(w.services[i%len(w.services)].name))
	}
	return file{"hosts/many.yaml", out.String()}
}

// runLastRoute compares the last route of a host with its first, in the same
// Envoy.
func runLastRoute(ctx context.Context, l *lab) (measures, error) {
	if err := l.disk.write([]file{l.world.manyRoutes(l.options.Routes)}); err != nil {
		return nil, err
	}
	if err := l.startAll(ctx, "--concurrency", "1"); err != nil {
		return nil, err
	}
	pid, err := envoyOf(l.sluice.pid())
	if err != nil {
		return nil, err
	}
	sides := make([]*side, 2)
	for i, n := range []int{l.options.Routes - 1, 0} {
		sides[i] = &side{
			address: l.gateway, pid: pid, tally: tally{latency: newHistogram()},
			dial: func(address string) caller {
				return &routeCaller{client{address: address}, n, l.world.services[n%len(l.world.services)].name}
			},
		}
		if err := answering(ctx, l.sluice, sides[i]); err != nil {
			return nil, err
		}
	}
	together, err := separate(sides)
	if err != nil {
		return nil, err
	}
	defer together()
	for n := range 2 * max(1, l.options.Seconds) {
		if err := l.saturate(ctx, sides[n%2]); err != nil {
			return nil, err
		}
	}
	m := compare([]tally{sides[0].tally}, []tally{sides[1].tally}, nil)
	return measures{
		"last_to_first_ratio": m["throughput_ratio"], "wrong": m["wrong"],
		"last_rps": m["sluice_rps"], "last_cpu_us_per_request": m["sluice_cpu_us_per_request"],
		"first_rps": m["static_rps"], "first_cpu_us_per_request": m["static_cpu_us_per_request"],
	}, nil
}

// routeCaller asks for one route on one connection.
type routeCaller struct {
	client
	route   int
	backend string
}

func (c *routeCaller) call(ctx context.Context, _ int) error {
	return expect(ctx, &c.client, page{manyHost, routePath(c.route)}, c.backend)
}
