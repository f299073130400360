package upstream

import (
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	commondnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	dynamicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	dnscachev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

func isDNS(r model.Resolution) bool {
	return r == model.ResolutionDNS || r == model.ResolutionDNSRoundRobin
}

// discover says where the endpoints of a cluster come from.
func discover(c *clusterv3.Cluster, in ClusterInput) {
	switch {
	case unreachable(in):
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	case isDNS(in.Resolution):
		discoverByDNS(c, in)
		c.HealthChecks = healthChecks(in)
	case in.Resolution == model.ResolutionDynamic:
		discoverByRequest(c, in)
	default:
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
		c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads(), ServiceName: c.GetName()}
		c.HealthChecks = healthChecks(in)
	}
}

// discoverByDNS fills in the endpoints that the proxy resolves itself.
func discoverByDNS(c *clusterv3.Cluster, in ClusterInput) {
	endpoints := in.Endpoints
	if len(endpoints) == 0 && !strings.HasPrefix(in.Destination.Host, "*") {
		endpoints = []model.Endpoint{{Address: in.Destination.Host}}
	}
	one := in.Resolution == model.ResolutionDNSRoundRobin
	c.LoadAssignment = resolvable(EndpointsInput{
		Destination: in.Destination, Port: in.Port, Endpoints: endpoints, Labels: in.Labels,
		Policy: in.Policy, Proxy: in.Proxy, ProxyLabels: in.ProxyLabels,
	}, one)
	if len(c.LoadAssignment.GetEndpoints()) == 0 {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		return
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.cluster.dns",
		TypedConfig: pack(&dnsv3.DnsCluster{
			RespectDnsTtl: true,
			// An address of a family that the machine has no route to would
			// take its share of the requests; IPv6 is used where a name has
			// nothing else.
			DnsLookupFamily:              commondnsv3.DnsLookupFamily_V4_PREFERRED,
			AllAddressesInSingleEndpoint: one,
			TypedDnsResolverConfig:       resolver(),
		}),
	}}
}

// resolvable returns the load assignment of a DNS cluster: the endpoints whose
// address is a name or an IP address, only the first if one is set.
func resolvable(in EndpointsInput, one bool) *endpointv3.ClusterLoadAssignment {
	var kept []model.Endpoint
	for _, e := range in.Endpoints {
		if strings.HasPrefix(e.Address, unixPrefix) || !matches(e.Labels, in.Labels) || portOf(e, in.Port) == 0 || e.Address == "" {
			continue
		}
		kept = append(kept, e)
		if one {
			break
		}
	}
	in.Endpoints = kept
	return assignment(in)
}

// discoverByRequest connects to the name that each request asks for.
func discoverByRequest(c *clusterv3.Cluster, in ClusterInput) {
	c.LbPolicy, c.LbConfig = clusterv3.Cluster_CLUSTER_PROVIDED, nil
	c.CommonLbConfig.LocalityConfigSpecifier, c.LoadBalancingPolicy = nil, nil
	c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.clusters.dynamic_forward_proxy",
		TypedConfig: pack(&dynamicv3.ClusterConfig{
			ClusterImplementationSpecifier: &dynamicv3.ClusterConfig_DnsCacheConfig{DnsCacheConfig: DNSCache()},
			// Envoy refuses a cluster of this kind that does not verify the
			// server by the name asked for, unless told so.
			AllowInsecureClusterOptions: !verifiesByAuthority(in),
		}),
	}}
}

// DNSCache returns the cache of names that clients ask for. The HTTP filter of
// the dynamic forward proxy and the clusters of DYNAMIC_DNS services find each
// other by the name of the cache, and Envoy demands that both say the same.
func DNSCache() *dnscachev3.DnsCacheConfig {
	return &dnscachev3.DnsCacheConfig{
		Name:                   "sluice",
		DnsLookupFamily:        clusterv3.Cluster_V4_PREFERRED,
		TypedDnsResolverConfig: resolver(),
	}
}

// resolver gives up on a name server after a second, and on a name after two
// attempts: about five seconds for a name that nobody answers for, where Envoy's
// own values take more than a minute. Such a name holds up the clusters that
// come with it, which Envoy brings into use together.
func resolver() *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{
		Name: "envoy.network.dns_resolver.cares",
		TypedConfig: pack(&caresv3.CaresDnsResolverConfig{
			QueryTimeoutSeconds: wrapperspb.UInt64(1),
			QueryTries:          wrapperspb.UInt32(2),
		}),
	}
}
