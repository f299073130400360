package main

import "strings"

// obstacles are what readiness asks, in this order: each says why no traffic
// should be sent here, or "" when it knows no reason. They are asked for every
// GET /readyz and must not wait.
func (g *gateway) obstacles() []func() string {
	return []func() string{
		g.drains,
		g.supervisor.Obstacle,
		g.unloaded,
		g.source.Obstacle,
	}
}

// ready reports whether traffic should be sent here, and if not, every reason.
func (g *gateway) ready() (bool, string) {
	var reasons []string
	for _, obstacle := range g.obstacles() {
		if why := obstacle(); why != "" {
			reasons = append(reasons, why)
		}
	}
	return len(reasons) == 0, strings.Join(reasons, "; ")
}

// drains is an obstacle from the moment on in which the end was asked for.
func (g *gateway) drains() string {
	if g.stopping.Load() {
		return "draining: the end was asked for"
	}
	return ""
}

// unloaded is an obstacle until Envoy has a whole configuration.
func (g *gateway) unloaded() string {
	if !g.board.Ready() {
		return "the first configuration is not live in Envoy yet; see /status"
	}
	return ""
}
