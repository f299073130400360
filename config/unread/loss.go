package unread

import (
	"fmt"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
)

// loss is what it costs that a kind is not read.
type loss int

const (
	foreign loss = iota // nothing
	sidecar             // it is for a mesh
	silent              // something that nobody depends on is not done
	unrouted
	unchanged
	allowed // what it forbids is let through
)

// tell fills in what p says of an object.
func (l loss) tell(p *model.Problem, o config.Object) {
	p.Reason, p.Severity = model.ReasonNotYetSupported, model.SeverityError
	var what string
	switch l {
	case foreign:
		p.Reason, p.Severity = model.ReasonUnknownKind, model.SeverityNote
		what = "is not for Sluice and is left aside"
	case sidecar:
		p.Reason, p.Severity = model.ReasonWaitingForMesh, model.SeverityWarning
		what = "is for a mesh, which does not exist yet; nothing is lost at the gateways"
	case silent:
		p.Severity = model.SeverityWarning
		what = "is not supported yet and has no effect"
	case unrouted:
		what = "is not supported yet and nothing of it is served; write a Gateway and a VirtualService of networking.istio.io"
	case unchanged:
		what = "is not supported, and all is served as if it were not there; remove it"
	case allowed:
		what = "is not supported yet, so what it forbids is let through; see to it elsewhere and remove it"
	}
	p.Message = fmt.Sprintf("%s of %q %s", o.Ref.Kind, o.APIVersion, what)
}

// losses are the kinds that exist in the groups that Sluice knows, and are not
// read.
//
// Source: the APIs of Istio 1.31, Gateway API 1.5 and Kubernetes 1.35.
func losses() map[string]map[string]loss {
	return map[string]map[string]loss{
		"networking.istio.io": {
			"EnvoyFilter": unchanged, "ProxyConfig": silent, "Sidecar": sidecar, "WorkloadGroup": sidecar,
		},
		"security.istio.io": {
			"AuthorizationPolicy": allowed, "PeerAuthentication": sidecar, "RequestAuthentication": allowed,
		},
		"telemetry.istio.io":  {"Telemetry": silent},
		"extensions.istio.io": {"TrafficExtension": unchanged, "WasmPlugin": unchanged},
		"gateway.networking.k8s.io": {
			"BackendTLSPolicy": allowed, "Gateway": unrouted, "GatewayClass": silent, "GRPCRoute": unrouted, "HTTPRoute": unrouted,
			"ListenerSet": unrouted, "ReferenceGrant": silent, "TCPRoute": unrouted, "TLSRoute": unrouted, "UDPRoute": unrouted,
		},
		"networking.k8s.io": {
			"Ingress": silent, "IngressClass": silent, "IPAddress": foreign, "NetworkPolicy": foreign, "ServiceCIDR": foreign,
		},
		"": {
			"Binding": foreign, "ComponentStatus": foreign, "Endpoints": silent, "Event": foreign, "LimitRange": foreign,
			"Namespace": foreign, "Node": foreign, "PersistentVolume": foreign, "PersistentVolumeClaim": foreign, "Pod": foreign,
			"PodTemplate": foreign, "ReplicationController": foreign, "ResourceQuota": foreign, "ServiceAccount": foreign,
		},
	}
}
