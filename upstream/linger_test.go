package upstream_test

import (
	"fmt"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/upstream"
)

// lines describes an assignment: "priority zone address health" per endpoint.
func lines(a *endpointv3.ClusterLoadAssignment) (out []string) {
	for _, g := range a.GetEndpoints() {
		for _, e := range g.GetLbEndpoints() {
			line := fmt.Sprintf("%d %s %s", g.GetPriority(), g.GetLocality().GetZone(), e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
			if e.GetHealthStatus() != corev3.HealthStatus_UNKNOWN {
				line += " " + e.GetHealthStatus().String()
			}
			out = append(out, line)
		}
	}
	return out
}

func TestLingering(t *testing.T) {
	at := func(address, zone string) model.Endpoint {
		return model.Endpoint{Address: address, Locality: model.Locality{Region: "eu", Zone: zone}}
	}
	failover := model.TrafficPolicy{LoadBalancer: &model.LoadBalancer{Locality: &model.LocalityBalancing{}}, Outlier: &model.OutlierDetection{}}
	cases := []struct {
		name          string
		policy        model.TrafficPolicy
		before, after []model.Endpoint
		want          []string
		any           bool
	}{
		{"nothing changed", model.TrafficPolicy{}, []model.Endpoint{at("10.0.0.1", "a")}, []model.Endpoint{at("10.0.0.1", "a")}, []string{"0 a 10.0.0.1"}, false},
		{"one came", model.TrafficPolicy{}, nil, []model.Endpoint{at("10.0.0.1", "a")}, []string{"0 a 10.0.0.1"}, false},
		{"one moved", model.TrafficPolicy{}, []model.Endpoint{at("10.0.0.1", "b")}, []model.Endpoint{at("10.0.0.1", "a")}, []string{"0 a 10.0.0.1"}, false},
		{
			"two left, from a zone with others and from one without",
			model.TrafficPolicy{},
			[]model.Endpoint{at("10.0.0.3", "b"), at("10.0.0.2", "a"), at("10.0.0.1", "a")},
			[]model.Endpoint{at("10.0.0.1", "a")},
			[]string{"0 a 10.0.0.1", "0 a 10.0.0.2 DRAINING", "0 b 10.0.0.3 DRAINING"},
			true,
		},
		{"all left", model.TrafficPolicy{}, []model.Endpoint{at("10.0.0.1", "a")}, nil, []string{"0 a 10.0.0.1 DRAINING"}, true},
		{
			"with priorities they must not make the first look sick", failover,
			[]model.Endpoint{at("10.0.0.1", "a"), at("10.0.0.2", "a"), at("10.0.0.3", "b")},
			[]model.Endpoint{at("10.0.0.1", "a"), at("10.0.0.3", "b")},
			[]string{"0 a 10.0.0.1", "1 b 10.0.0.3", "2 a 10.0.0.2 DRAINING"},
			true,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			of := func(endpoints []model.Endpoint) *endpointv3.ClusterLoadAssignment {
				return upstream.Endpoints(upstream.EndpointsInput{
					Destination: model.Destination{Host: "a", Port: 80}, Port: model.ServicePort{Number: 80},
					Endpoints: endpoints, Policy: c.policy, Proxy: model.Locality{Region: "eu", Zone: "a"},
				})
			}
			before, after := of(c.before), of(c.after)
			wasBefore, wasAfter := proto.CloneOf(before), proto.CloneOf(after)
			merged, any := upstream.Lingering(before, after)
			if any != c.any {
				t.Errorf("any is %v", any)
			}
			if diff := cmp.Diff(c.want, lines(merged)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if err := merged.ValidateAll(); err != nil {
				t.Error(err)
			}
			if !proto.Equal(before, wasBefore) || !proto.Equal(after, wasAfter) {
				t.Error("an input was changed")
			}
			slices.Reverse(before.Endpoints)
			if again, _ := upstream.Lingering(before, after); !proto.Equal(again, merged) {
				t.Errorf("another order gave %v", lines(again))
			}
		})
	}
}
