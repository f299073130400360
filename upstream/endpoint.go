package upstream

import (
	"cmp"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

const (
	// unixPrefix marks the address of a unix socket.
	unixPrefix = "unix://"
	// longestPath is what the kernel takes for the path of a unix socket.
	longestPath = 107
)

// EndpointsInput is a destination and every endpoint of its service.
type EndpointsInput struct {
	Destination model.Destination
	Port        model.ServicePort
	Endpoints   []model.Endpoint
	// Labels choose the endpoints of the subset; nil takes all.
	Labels map[string]string
	// Policy is what [Effective] returns: its load balancer and outlier
	// detection order the endpoints by where they run.
	Policy model.TrafficPolicy
	// Proxy is where the proxy runs, zero if unknown; ProxyLabels are its own.
	Proxy       model.Locality
	ProxyLabels map[string]string
}

// Endpoints returns the endpoints of an EDS cluster, named [model.ClusterName]:
// those that carry all labels, by locality, in an order that does not depend on
// the input's. Left out are endpoints whose address is neither an IP address
// nor a unix socket, because Envoy would refuse the whole assignment, and those
// without the port. Of several endpoints with one address and port the
// healthiest is kept.
//
// The port of an endpoint is its own port by the service port's name, else the
// target port, else the service port's number. A target port by name has no
// number to fall back on.
//
// Localities have priorities and weights if the policy's load balancer asks for
// them; see [prioritize] and [distribute].
func Endpoints(in EndpointsInput) *endpointv3.ClusterLoadAssignment {
	in.Endpoints = slices.DeleteFunc(slices.Clone(in.Endpoints), func(e model.Endpoint) bool {
		return !dialable(e.Address) || !matches(e.Labels, in.Labels) || portOf(e, in.Port) == 0
	})
	return assignment(in)
}

// dialable reports whether Envoy can connect to address without resolving it.
func dialable(address string) bool {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		return strings.HasPrefix(path, "/") && len(path) <= longestPath && strings.IndexByte(path, 0) < 0
	}
	ip, err := netip.ParseAddr(address)
	return err == nil && ip.Zone() == ""
}

// matches reports whether labels has every pair of selector.
func matches(labels, selector map[string]string) bool {
	for key, want := range selector {
		if got, ok := labels[key]; !ok || got != want {
			return false
		}
	}
	return true
}

// portOf returns the number to connect to, 0 if e does not serve the port.
func portOf(e model.Endpoint, port model.ServicePort) uint32 {
	number, ok := e.Ports[port.Name]
	switch {
	case ok:
	case port.TargetPort != 0:
		number = port.TargetPort
	case port.TargetName == "":
		number = port.Number
	}
	if number > math.MaxUint16 {
		return 0
	}
	return number
}

// place is one endpoint, ready to be ordered.
type place struct {
	locality model.Locality
	labels   map[string]string
	address  string
	port     uint32 // 0 for a unix socket
	health   model.Health
	weight   uint32 // at least 1
	priority uint32 // 0 is tried first
}

// severity orders healths from the best to the worst.
func severity(h model.Health) int {
	switch h {
	case model.HealthHealthy:
		return 0
	case model.HealthDraining:
		return 1
	default:
		return 2
	}
}

// assignment orders endpoints that are known to be usable.
func assignment(in EndpointsInput) *endpointv3.ClusterLoadAssignment {
	places := make([]place, 0, len(in.Endpoints))
	for _, e := range in.Endpoints {
		p := place{locality: e.Locality, labels: e.Labels, address: e.Address, health: e.Health, weight: max(e.Weight, 1)}
		if ip, err := netip.ParseAddr(e.Address); err == nil {
			p.address = ip.String()
		}
		if !strings.HasPrefix(e.Address, unixPrefix) {
			p.port = portOf(e, in.Port)
		}
		places = append(places, p)
	}
	places = distinct(places)
	prioritize(places, in)
	slices.SortStableFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), compareLocality(a.locality, b.locality))
	})
	out := &endpointv3.ClusterLoadAssignment{ClusterName: model.ClusterName(in.Destination)}
	// Envoy refuses an assignment whose weights add up to more than 32 bits.
	heaviest := uint32(math.MaxUint32 / max(len(places), 1))
	for i, p := range places {
		if i == 0 || p.locality != places[i-1].locality || p.priority != places[i-1].priority {
			out.Endpoints = append(out.Endpoints, &endpointv3.LocalityLbEndpoints{Locality: locality(p.locality), Priority: p.priority})
		}
		p.weight = min(p.weight, heaviest)
		group := out.Endpoints[len(out.Endpoints)-1]
		group.LbEndpoints = append(group.LbEndpoints, lbEndpoint(p))
	}
	if lb := in.Policy.LoadBalancer; lb != nil && weighs(lb) {
		out.Endpoints = distribute(out.Endpoints, in.Proxy, lb.Locality.Distribute)
	}
	return out
}

// distinct drops what has the same address and port as a better place, and
// orders the rest by address and port.
func distinct(places []place) []place {
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(
			strings.Compare(a.address, b.address),
			cmp.Compare(a.port, b.port),
			cmp.Compare(severity(a.health), severity(b.health)),
			compareLocality(a.locality, b.locality),
			-cmp.Compare(a.weight, b.weight),
			compareLabels(a.labels, b.labels),
		)
	})
	return slices.CompactFunc(places, func(a, b place) bool { return a.address == b.address && a.port == b.port })
}

// compareLabels orders label sets by their sorted pairs.
func compareLabels(a, b map[string]string) int {
	for _, key := range slices.Sorted(maps.Keys(a)) {
		other, ok := b[key]
		if !ok {
			return 1
		}
		if c := strings.Compare(a[key], other); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func compareLocality(a, b model.Locality) int {
	return cmp.Or(
		strings.Compare(a.Region, b.Region),
		strings.Compare(a.Zone, b.Zone),
		strings.Compare(a.SubZone, b.SubZone),
	)
}

func locality(l model.Locality) *corev3.Locality {
	if l == (model.Locality{}) {
		return nil
	}
	return &corev3.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.SubZone}
}

func lbEndpoint(p place) *endpointv3.LbEndpoint {
	e := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
		Endpoint: &endpointv3.Endpoint{Address: address(p)},
	}}
	switch p.health {
	case model.HealthHealthy:
	case model.HealthDraining:
		e.HealthStatus = corev3.HealthStatus_DRAINING
	default:
		e.HealthStatus = corev3.HealthStatus_UNHEALTHY
	}
	if p.weight > 1 {
		e.LoadBalancingWeight = wrapperspb.UInt32(p.weight)
	}
	return e
}

func address(p place) *corev3.Address {
	if path, ok := strings.CutPrefix(p.address, unixPrefix); ok {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       p.address,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: p.port},
	}}}
}
