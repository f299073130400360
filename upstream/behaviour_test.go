package upstream_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/upstream"
)

func ptr[T any](v T) *T { return &v }

// byHeader hashes by x-user.
func byHeader() []*routev3.RouteAction_HashPolicy {
	return []*routev3.RouteAction_HashPolicy{{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
		Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: "x-user"},
	}}}
}

func TestHashesStickAndMoveLittle(t *testing.T) {
	for name, hash := range map[string]model.ConsistentHash{
		"ring":   {Header: "x-user", MinimumRingSize: 2048},
		"maglev": {Header: "x-user", Maglev: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := httpWorld(model.TrafficPolicy{LoadBalancer: &model.LoadBalancer{Hash: &hash}})
			w.hash = byHeader()
			for i := range 4 {
				w.endpoints = append(w.endpoints, plain(t, fmt.Sprint(i)).Endpoint)
			}
			r := start(t, w)
			const users = 60
			of := func() (out [users]string) {
				for u := range users {
					out[u] = r.ask("/", "X-User", fmt.Sprint("user", u)).Name
				}
				return out
			}
			first := of()
			used := map[string]bool{}
			for _, name := range first {
				used[name] = true
			}
			if again := of(); again != first || len(used) != 4 {
				t.Fatalf("users moved, or not every backend has one:\n%v\n%v", first, again)
			}
			r.world.endpoints = w.endpoints[1:]
			r.write(r.world.assignment())
			r.awaitStat("membership_total", 3)
			then := of()
			moved, stayed := 0, 0
			for u := range users {
				switch {
				case first[u] == "0" && then[u] == "0":
					t.Errorf("user %d is still sent to the backend that left", u)
				case first[u] == "0":
				case first[u] != then[u]:
					moved++
				default:
					stayed++
				}
			}
			// By chance two thirds would move.
			if moved > stayed/2 {
				t.Errorf("%d users of other backends moved, %d stayed", moved, stayed)
			}
		})
	}
}

// ejecting finds failures fast.
func ejecting() *model.OutlierDetection {
	return &model.OutlierDetection{
		Consecutive5xx: ptr[uint32](2), Interval: ptr(100 * time.Millisecond),
		BaseEjectionTime: ptr(300 * time.Millisecond), MaxEjectionPercent: 100,
	}
}

// onlyFrom asks n times and fails unless all answers come from one backend.
func onlyFrom(t *testing.T, r *running, name string, n int) {
	t.Helper()
	for range n {
		if a := r.ask("/"); a.Status != http.StatusOK || a.Name != name {
			t.Fatalf("got %+v, want 200 from %s", a, name)
		}
	}
}

// awaitAnswer asks until a backend answers.
func awaitAnswer(r *running, name string) {
	r.t.Helper()
	r.await("an answer from "+name, func() error {
		if a, err := r.try("/"); err != nil || a.Name != name {
			return fmt.Errorf("got %+v %w", a, err)
		}
		return nil
	})
}

func TestOutliersAreEjectedAndComeBack(t *testing.T) {
	codes := ejecting()
	codes.HTTPCodes = []uint32{http.StatusTooManyRequests}
	for name, c := range map[string]struct {
		policy *model.OutlierDetection
		status int32
	}{
		"5xx":   {ejecting(), http.StatusInternalServerError},
		"codes": {codes, http.StatusTooManyRequests},
	} {
		t.Run(name, func(t *testing.T) {
			good, sick := plain(t, "good"), plain(t, "sick")
			// It stays away for long, so that what follows sees it away.
			c.policy.BaseEjectionTime = ptr(2 * time.Second)
			r := start(t, httpWorld(model.TrafficPolicy{Outlier: c.policy}, good.Endpoint, sick.Endpoint))
			awaitAnswer(r, "sick")
			sick.status.Store(c.status)
			r.await("the sick one is ejected", func() error {
				if _, err := r.try("/"); err != nil {
					return err
				}
				if n, err := r.stat("outlier_detection.ejections_active"); err != nil || n != 1 {
					return fmt.Errorf("%d are ejected %w", n, err)
				}
				return nil
			})
			sick.status.Store(0)
			onlyFrom(t, r, "good", 10)
			awaitAnswer(r, "sick")
		})
	}
}

func TestLocalityFailsOverAndBack(t *testing.T) {
	here, there := model.Locality{Region: "eu", Zone: "a"}, model.Locality{Region: "us", Zone: "a"}
	near, far := serveBackend(t, "near", here, nil), serveBackend(t, "far", there, nil)
	w := httpWorld(model.TrafficPolicy{
		LoadBalancer: &model.LoadBalancer{Locality: &model.LocalityBalancing{Failover: []model.Failover{{From: "eu", To: "us"}}}},
		Outlier:      ejecting(),
	}, near.Endpoint, far.Endpoint)
	w.in.Proxy = here
	r := start(t, w)
	onlyFrom(t, r, "near", 20)
	near.status.Store(http.StatusBadGateway)
	awaitAnswer(r, "far")
	near.status.Store(0)
	awaitAnswer(r, "near")
	r.awaitStat("outlier_detection.ejections_active", 0)
	onlyFrom(t, r, "near", 20)
}

func TestLocalitiesGetTheirShare(t *testing.T) {
	eu, us, ap := model.Locality{Region: "eu"}, model.Locality{Region: "us"}, model.Locality{Region: "ap"}
	w := httpWorld(model.TrafficPolicy{LoadBalancer: &model.LoadBalancer{Locality: &model.LocalityBalancing{
		Distribute: []model.Distribution{{From: "eu/*", To: []model.LocalityShare{{Locality: "eu", Percent: 75}, {Locality: "us", Percent: 25}}}},
	}}}, serveBackend(t, "eu", eu, nil).Endpoint, serveBackend(t, "us", us, nil).Endpoint, serveBackend(t, "ap", ap, nil).Endpoint)
	w.in.Proxy = eu
	r := start(t, w)
	counts := map[string]int{}
	for range 200 {
		counts[r.ask("/").Name]++
	}
	if counts["ap"] != 0 || counts["eu"] < 110 || counts["us"] < 20 || counts["eu"]+counts["us"] != 200 {
		t.Errorf("of 200 requests 75%% should reach eu and 25%% us: %v", counts)
	}
}

func TestLimitsOverflow(t *testing.T) {
	b := plain(t, "b")
	r := start(t, httpWorld(model.TrafficPolicy{ConnectionPool: &model.ConnectionPool{MaxConnections: 1, HTTP1MaxPendingRequests: 1}}, b.Endpoint))
	type result struct {
		answer
		err error
	}
	results := make(chan result, 2)
	ask := func() { a, err := r.try("/hold"); results <- result{a, err} }
	go ask()
	<-b.held
	go ask()
	r.awaitStat("upstream_rq_pending_active", 1)
	if a := r.ask("/"); a.Status != http.StatusServiceUnavailable {
		t.Errorf("a request beyond both limits got %+v, want 503", a)
	}
	if n, err := r.stat("upstream_rq_pending_overflow"); err != nil || n != 1 {
		t.Errorf("%d requests overflowed, want 1: %v", n, err)
	}
	b.free <- struct{}{}
	b.free <- struct{}{}
	for range 2 {
		if got := <-results; got.err != nil || got.Status != http.StatusOK {
			t.Errorf("a request within the limits got %+v", got)
		}
	}
}

func TestHealthChecksTakeSickEndpointsOut(t *testing.T) {
	good, sick := plain(t, "good"), plain(t, "sick")
	sick.status.Store(http.StatusServiceUnavailable)
	w := httpWorld(model.TrafficPolicy{}, good.Endpoint, sick.Endpoint)
	w.in.HealthCheck = &model.HealthCheck{Path: "/ready", Interval: 50 * time.Millisecond, Timeout: time.Second, Healthy: 1, Unhealthy: 1}
	r := start(t, w)
	r.awaitStat("membership_healthy", 1)
	onlyFrom(t, r, "good", 20)
	sick.status.Store(0)
	r.awaitStat("membership_healthy", 2)
	awaitAnswer(r, "sick")
}

func TestDrainingEndpointsFinishWhatTheyHave(t *testing.T) {
	old, young := plain(t, "old"), plain(t, "young")
	r := start(t, httpWorld(model.TrafficPolicy{}, old.Endpoint))
	before := r.world.assignment()
	results := make(chan answer, 1)
	go func() { a, _ := r.try("/hold"); results <- a }()
	<-old.held
	r.world.endpoints = []model.Endpoint{young.Endpoint}
	merged, any := upstream.Lingering(before, r.world.assignment())
	if !any {
		t.Fatal("nothing lingers")
	}
	r.write(merged)
	r.awaitStat("membership_total", 2)
	onlyFrom(t, r, "young", 20)
	old.free <- struct{}{}
	if a := <-results; a.Name != "old" {
		t.Errorf("the request that was under way got %+v", a)
	}
	r.write(r.world.assignment())
	r.awaitStat("membership_total", 1)
	onlyFrom(t, r, "young", 5)
}

func TestWarmUpServes(t *testing.T) {
	for _, lb := range []model.Balancing{model.BalancingDefault, model.BalancingRoundRobin} {
		r := start(t, httpWorld(model.TrafficPolicy{LoadBalancer: &model.LoadBalancer{
			Simple: lb, Warmup: &model.Warmup{Duration: time.Minute, MinimumPercent: 20, Aggression: 2},
		}}, plain(t, "b").Endpoint))
		onlyFrom(t, r, "b", 5)
	}
}

func TestProtocolUpgrade(t *testing.T) {
	for name, c := range map[string]struct {
		pool model.ConnectionPool
		want string
	}{
		"as the port says": {model.ConnectionPool{}, "HTTP/1.1"},
		"upgrade":          {model.ConnectionPool{H2Upgrade: model.H2UpgradeAlways}, "HTTP/2.0"},
		"as the client":    {model.ConnectionPool{H2Upgrade: model.H2UpgradeAlways, UseClientProtocol: true}, "HTTP/1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, httpWorld(model.TrafficPolicy{ConnectionPool: &c.pool}, plain(t, "b").Endpoint))
			if a := r.ask("/"); a.Proto != c.want {
				t.Errorf("got %+v, want %s", a, c.want)
			}
		})
	}
}

// byName is the HTTP filter that finds the names of requests.
func byName(t *testing.T) []*managerv3.HttpFilter {
	t.Helper()
	return []*managerv3.HttpFilter{{Name: "names", ConfigType: &managerv3.HttpFilter_TypedConfig{TypedConfig: wrap(t, &filterv3.FilterConfig{
		ImplementationSpecifier: &filterv3.FilterConfig_DnsCacheConfig{DnsCacheConfig: upstream.DNSCache()},
	})}}}
}

func TestDynamicNames(t *testing.T) {
	b := plain(t, "b")
	w := httpWorld(model.TrafficPolicy{})
	w.in.Destination.Host, w.in.Resolution = "*", model.ResolutionDynamic
	w.filters = byName(t)
	r := start(t, w)
	host := fmt.Sprint("localhost:", b.port)
	if a := r.ask("/", "Host", host); a.Name != "b" || a.Host != host {
		t.Errorf("got %+v", a)
	}
	if a := r.ask("/", "Host", "nowhere.invalid"); a.Status != http.StatusServiceUnavailable {
		t.Errorf("a name that does not exist got %+v, want 503", a)
	}
}

func TestDynamicNamesAreVerified(t *testing.T) {
	ca := newAuthority(t)
	right := serveBackend(t, "right", model.Locality{}, ca.server("localhost"))
	wrong := serveBackend(t, "wrong", model.Locality{}, ca.server("elsewhere.example.com"))
	for name, c := range map[string]struct {
		tls  model.UpstreamTLS
		to   *backend
		want int
	}{
		"the name asked for":   {model.UpstreamTLS{CAFile: ca.file}, right, http.StatusOK},
		"another name":         {model.UpstreamTLS{CAFile: ca.file}, wrong, http.StatusServiceUnavailable},
		"not verified":         {model.UpstreamTLS{InsecureSkipVerify: true}, wrong, http.StatusOK},
		"a name of the policy": {model.UpstreamTLS{CAFile: ca.file, SubjectAltNames: []string{"elsewhere.example.com"}}, wrong, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			c.tls.Mode = model.TLSSimple
			w := httpWorld(model.TrafficPolicy{TLS: &c.tls})
			w.in.Destination.Host, w.in.Resolution, w.in.Port.Protocol = "*", model.ResolutionDynamic, model.ProtocolHTTPS
			w.filters = byName(t)
			if a := start(t, w).ask("/", "Host", fmt.Sprint("localhost:", c.to.port)); a.Status != c.want {
				t.Errorf("got %+v, want %d", a, c.want)
			}
		})
	}
}

func TestNamesAreResolved(t *testing.T) {
	b := plain(t, "b")
	for _, resolution := range []model.Resolution{model.ResolutionDNS, model.ResolutionDNSRoundRobin} {
		w := httpWorld(model.TrafficPolicy{})
		w.in.Resolution = resolution
		w.in.Endpoints = []model.Endpoint{{Address: "localhost", Ports: b.Ports}}
		onlyFrom(t, start(t, w), "b", 3)
	}
}
