package upstream_test

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/upstream"
)

// FuzzEndpoints makes endpoints from bytes and checks what Envoy demands of an
// assignment, and that their order does not matter.
func FuzzEndpoints(f *testing.F) {
	f.Add("10.0.0.1", "unix:///run/a", uint32(1), uint32(80), uint64(1))
	f.Add("::1", "b.example.com", uint32(math.MaxUint32), uint32(70000), uint64(2))
	f.Add("", "unix://\x00", uint32(0), uint32(0), uint64(3))
	f.Add("fe80::1%eth0", "::ffff:10.0.0.1", uint32(7), uint32(65535), uint64(4))
	f.Fuzz(func(t *testing.T, first, second string, weight, port uint32, seed uint64) {
		random := rand.New(rand.NewPCG(seed, seed))
		var endpoints []model.Endpoint
		for i := range 12 {
			endpoints = append(endpoints, model.Endpoint{
				Address:  []string{first, second, "10.0.0.9"}[i%3],
				Ports:    map[string]uint32{"http": port + random.Uint32N(2)},
				Labels:   map[string]string{"v": string(rune('1' + random.IntN(2)))},
				Locality: model.Locality{Zone: string(rune('a' + random.IntN(2)))},
				Weight:   weight + random.Uint32N(2),
				Health:   model.Health(random.IntN(3)),
			})
		}
		in := upstream.EndpointsInput{
			Destination: model.Destination{Host: "a", Port: 80},
			Port:        model.ServicePort{Name: "http", Number: 80},
			Endpoints:   endpoints,
			Labels:      map[string]string{"v": "1"},
		}
		got := upstream.Endpoints(in)
		if err := got.ValidateAll(); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, group := range got.GetEndpoints() {
			sum := uint64(0)
			for _, e := range group.GetLbEndpoints() {
				sum += uint64(max(e.GetLoadBalancingWeight().GetValue(), 1))
				address := e.GetEndpoint().GetAddress()
				if seen[address.String()] {
					t.Errorf("%v is there twice", address)
				}
				seen[address.String()] = true
				if socket := address.GetSocketAddress(); socket != nil {
					if _, err := netip.ParseAddr(socket.GetAddress()); err != nil || socket.GetPortValue() == 0 || socket.GetPortValue() > math.MaxUint16 {
						t.Errorf("envoy cannot connect to %v", socket)
					}
				}
			}
			if sum > math.MaxUint32 {
				t.Errorf("weights add up to %d", sum)
			}
		}
		random.Shuffle(len(endpoints), func(i, j int) { endpoints[i], endpoints[j] = endpoints[j], endpoints[i] })
		before := slices.Clone(endpoints)
		if again := upstream.Endpoints(in); !proto.Equal(got, again) {
			t.Errorf("another order gave another assignment:\n%v\n%v", got, again)
		}
		for i := range before {
			if before[i].Address != endpoints[i].Address {
				t.Fatal("the input was changed")
			}
		}
	})
}
