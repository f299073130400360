package e2e

import "testing"

// regions are where servers stand: two near the machine, one in each of three
// other regions.
func regions() []string {
	return []string{"locality: r1/z1", "locality: r1/z2", "locality: r2/z1", "locality: r3/z1", "locality: r4/z1"}
}

// regional is a service in those regions with a setting of its localities.
func regional(name string, servers []*origin, setting string) string {
	return placed(name, servers, regions(), "{loadBalancer: {simple: ROUND_ROBIN, localityLbSetting: "+setting+"}, "+ejecting+"}")
}

// The region that is named in place of the machine's own takes over, and those
// that are not named get nothing until that one fails too.
func TestFailoverToRegion(t *testing.T) {
	t.Parallel()
	settings := map[string]string{
		"to-r3":   "{failover: [{from: r2, to: r4}, {from: r1, to: r3}]}",
		"to-r2":   "{enabled: true, failover: [{from: r1, to: r2}]}",
		"from-r2": "{failover: [{from: r2, to: r3}]}",
		"any":     "{enabled: true}",
		"off":     "{enabled: false, failover: [{from: r1, to: r3}]}",
	}
	files := map[string]string{"gateway.yaml": edge("*")}
	groups := map[string][]*origin{}
	for name, setting := range settings {
		groups[name] = origins(t, name+"-", len(regions()))
		files[name+".yaml"] = regional(name, groups[name], setting)
	}
	w := newWorld(t, files).run("--locality", "r1/z1").settled()
	w.flawless()
	w.answered(query{host: "off.test"}, groups["off"])
	for name, standIn := range map[string]int{"to-r3": 3, "to-r2": 2, "from-r2": 0, "any": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, servers, q := w.in(t), groups[name], query{host: name + ".test"}
			w.answered(q, servers[:1])
			servers[0].setSick(true)
			w.willBeAnswered(q, servers[1:2])
			servers[1].setSick(true)
			if standIn == 0 {
				w.willBeAnswered(q, servers[2:])
			} else {
				w.willBeAnswered(q, servers[standIn:standIn+1])
				var rest []*origin
				for i, s := range servers[2:] {
					if i+2 == standIn {
						continue
					}
					rest = append(rest, s)
					if n := s.asked(""); n > 0 {
						t.Errorf("%d requests go to %s, whose region is not named", n, s.name)
					}
				}
				servers[standIn].setSick(true)
				w.willBeAnswered(q, rest)
			}
			for _, s := range servers {
				s.setSick(false)
			}
			w.willBeAnswered(q, servers[:1])
		})
	}
}

// Regions that a distribution names share the requests; others get none, not
// even the machine's own.
func TestDistributeAmongRegions(t *testing.T) {
	t.Parallel()
	files := map[string]string{"gateway.yaml": edge("*")}
	groups := map[string][]*origin{}
	want := map[string][]int{}
	put := func(name, setting string, used ...int) {
		groups[name], want[name] = origins(t, name, len(regions())), used
		files[name+".yaml"] = regional(name, groups[name], setting)
	}
	put("one", "{distribute: [{from: r1/*, to: {r3/*: 100}}]}", 3)
	put("two", "{distribute: [{from: r1/z1, to: {r2: 50, r4/z1: 50}}]}", 2, 4)
	put("home", "{distribute: [{from: r1/*, to: {r1/z2: 60, r3: 40}}]}", 1, 3)
	put("first", "{distribute: [{from: r1/*, to: {r2: 100}}, {from: r1/z1, to: {r3: 100}}]}", 2)
	put("zone", "{distribute: [{from: r1/z9, to: {r2: 100}}, {from: r1/z1, to: {r3: 100}}]}", 3)
	put("elsewhere", "{distribute: [{from: r2/*, to: {r3: 100}}]}", 0, 1, 2, 3, 4)
	put("off", "{enabled: false, distribute: [{from: r1/*, to: {r3: 100}}]}", 0, 1, 2, 3, 4)
	w := newWorld(t, files).run("--locality", "r1/z1").settled()
	w.flawless()
	for name, used := range want {
		var servers []*origin
		for _, i := range used {
			servers = append(servers, groups[name][i])
		}
		w.answered(query{host: name + ".test"}, servers)
		for _, s := range groups[name] {
			n := s.asked("")
			for _, u := range servers {
				if s == u {
					n = 0
				}
			}
			if n > 0 {
				t.Errorf("%s: %s, whose region gets no share, is asked %d times", name, s.name, n)
			}
		}
	}
}
