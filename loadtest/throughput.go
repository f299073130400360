package loadtest

import (
	"context"
	"fmt"
)

// runThroughput compares sluice's Envoy with static ones of the same routes.
func runThroughput(ctx context.Context, l *lab) (measures, error) {
	return l.play(ctx, contest{
		address: l.gateway,
		config:  func(port int, edge bool) (string, error) { return staticConfig(staticWorld(l.world, port, edge)) },
		bare:    true,
		dial:    func(address string) caller { return &hostCaller{client{address: address}, l.world} },
	})
}

// hostCaller asks one host of a world after the other on one connection.
type hostCaller struct {
	client
	world *world
}

func (c *hostCaller) call(ctx context.Context, i int) error {
	host := i % len(c.world.goesTo)
	return expect(ctx, &c.client, page{host: hostName(host), path: "/"}, c.world.backendOf(host))
}

// page is what a client asks for.
type page struct{ host, path string }

// expect asks for a page and returns an error for any answer but 200 from a
// backend.
func expect(ctx context.Context, c *client, p page, backend string) error {
	a, err := c.askFor(ctx, p)
	if err != nil {
		return err
	}
	if a.code != 200 || a.backend != backend {
		return fmt.Errorf("%w: %s%s is %v, want %s", errWrongAnswer, p.host, p.path, a, backend)
	}
	return nil
}
