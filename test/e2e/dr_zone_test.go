package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
)

// placed is a service with a policy; each server stands where its place says.
func placed(name string, servers []*origin, places []string, policy string) string {
	host := name + ".internal"
	return fleet(host, servers, places...) + "---\n" + routes(name, name+".test", to(host)) + "---\n" + rule(host, "  trafficPolicy: "+policy+"\n")
}

// zones are where the servers of a zoned service stand: two in each of three
// zones, and one in another region.
func zones() []string {
	return []string{"locality: r1/z1", "locality: r1/z1", "locality: r1/z2", "locality: r1/z2", "locality: r1/z3", "locality: r1/z3", "locality: r2/z1"}
}

// answered sends requests and expects those servers to answer, no other one and
// none less.
func (w *world) answered(q query, servers []*origin) {
	w.t.Helper()
	const n = 60
	if got, want := slices.Sorted(maps.Keys(w.spread(q, n))), namesOf(servers); !slices.Equal(got, want) {
		w.t.Errorf("%s: %v answer, want %v", q.host, got, want)
	}
}

func namesOf(servers []*origin) []string {
	var names []string
	for _, s := range servers {
		names = append(names, s.name)
	}
	return slices.Sorted(slices.Values(names))
}

// willBeAnswered waits until those servers answer, no other one and none less.
func (w *world) willBeAnswered(q query, servers []*origin) {
	w.t.Helper()
	const n = 30
	want := namesOf(servers)
	w.eventually("only and all of the expected answer", func() error {
		got := map[string]bool{}
		for range n {
			r, err := w.do(q)
			if err != nil {
				return err
			}
			if r.code != http.StatusOK {
				return unexpected(r.code, r.line())
			}
			got[r.name()] = true
		}
		if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, want) {
			return fmt.Errorf("%v answer, want %v", have, want)
		}
		return nil
	})
}

// A zone-aware balancer keeps to the zone of the machine while that has
// endpoints, and to its region; it needs enough endpoints to do so.
func TestZoneAware(t *testing.T) {
	t.Parallel()
	files := map[string]string{"gateway.yaml": edge("*")}
	groups := map[string][]*origin{}
	put := func(name string, places []string, policy string) {
		groups[name] = origins(t, name, len(places))
		files[name+".yaml"] = placed(name, groups[name], places, policy)
	}
	const round = "simple: ROUND_ROBIN, "
	put("on", zones(), "{loadBalancer: {"+round+"zoneAwareLbSetting: {enabled: true}}}")
	put("least", zones(), "{loadBalancer: {simple: LEAST_REQUEST, zoneAwareLbSetting: {enabled: true}}}")
	put("random", zones(), "{loadBalancer: {simple: RANDOM, zoneAwareLbSetting: {enabled: true}}}")
	put("warm", zones(), "{loadBalancer: {"+round+"warmup: {duration: 1s}, zoneAwareLbSetting: {enabled: true}}}")
	put("off", zones(), "{loadBalancer: {"+round+"zoneAwareLbSetting: {enabled: false}}}")
	put("plain", zones(), "{loadBalancer: {simple: ROUND_ROBIN}}")
	put("few", zones()[1:6], "{loadBalancer: {"+round+"zoneAwareLbSetting: {enabled: true}}}")
	put("enough", zones()[1:6], "{loadBalancer: {"+round+"zoneAwareLbSetting: {enabled: true, minClusterSize: 5}}}")
	put("foreign", zones()[2:], "{loadBalancer: {"+round+"zoneAwareLbSetting: {enabled: true, minClusterSize: 1}}}")
	w := newWorld(t, files).run("--locality", "r1/z1").settled()
	w.flawless()
	for name, at := range map[string][2]int{ // the servers that answer, from, to
		"on": {0, 2}, "least": {0, 2}, "random": {0, 2}, "warm": {0, 2}, "off": {0, 7}, "plain": {0, 7}, "few": {0, 5}, "enough": {0, 1}, "foreign": {0, 4},
	} {
		w.answered(query{host: name + ".test"}, groups[name][at[0]:at[1]])
	}
}

// Who has not said where the machine is gets no preference.
func TestZoneAwareNowhere(t *testing.T) {
	t.Parallel()
	servers := origins(t, "s", len(zones()))
	w := newWorld(t, map[string]string{
		"gateway.yaml": edge("*"),
		"on.yaml":      placed("on", servers, zones(), "{loadBalancer: {simple: ROUND_ROBIN, zoneAwareLbSetting: {enabled: true}}}"),
	}).run().settled()
	w.flawless()
	w.answered(query{host: "on.test"}, servers)
}

// When the zone fails, the region stands in, then the other region that
// failover names, and the zone takes over again when it is back.
func TestZoneAwareFailover(t *testing.T) {
	t.Parallel()
	places := append(zones(), "locality: r3/z1")
	servers := origins(t, "s", len(places))
	w := newWorld(t, map[string]string{
		"gateway.yaml": edge("*"),
		"on.yaml":      placed("on", servers, places, "{loadBalancer: {simple: ROUND_ROBIN, zoneAwareLbSetting: {enabled: true, failover: [{from: r1, to: r3}]}}, "+ejecting+"}"),
	}).run("--locality", "r1/z1").settled()
	w.flawless()
	q := query{host: "on.test"}
	sick := func(sick bool, servers []*origin) {
		for _, s := range servers {
			s.setSick(sick)
		}
	}
	w.answered(q, servers[:2])
	sick(true, servers[:2])
	w.willBeAnswered(q, servers[2:6])
	sick(true, servers[2:6])
	w.willBeAnswered(q, servers[7:])
	if n := servers[6].asked(""); n > 0 {
		t.Errorf("%d requests go to a region that failover does not name", n)
	}
	sick(false, servers)
	w.willBeAnswered(q, servers[:2])
}
