package kube

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/config/istio/annotation"
	"github.com/sluicegw/sluice/model"
)

// decodeService gives a Service its meaning. Its endpoints come from the
// EndpointSlices of its name, or for an ExternalName from the DNS.
func decodeService(o config.Object) (model.Value, []model.Problem) {
	r := &reader{meta: o.Meta}
	var in struct {
		header
		Spec   corev1.ServiceSpec `json:"spec"`
		Status any                `json:"status"`
	}
	if !r.read(o.JSON, &in) {
		return nil, r.sorted()
	}
	s := &model.Service{
		Meta:       o.Meta,
		Hosts:      []string{o.Ref.Name + "." + o.Ref.Namespace + ".svc.cluster.local"},
		Addresses:  r.addresses(in.Spec),
		Ports:      r.ports(in.Spec.Ports),
		Resolution: model.ResolutionSlices,
	}
	r.annotations(s)
	switch in.Spec.Type {
	case "", corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
	case corev1.ServiceTypeExternalName:
		s.Resolution, s.External = model.ResolutionDNS, true
		s.Endpoints = r.externalName(in.Spec.ExternalName)
		if s.Endpoints == nil {
			return nil, r.sorted()
		}
	default:
		r.fail(finding{"spec.type", model.ReasonInvalidValue, fmt.Sprintf(
			"%s is no type of a service; write ClusterIP, NodePort, LoadBalancer or ExternalName", quote(string(in.Spec.Type)))})
		return nil, r.sorted()
	}
	return s, r.sorted()
}

// annotations reads to which namespaces a service is visible, by the annotation
// of Istio, and how its endpoints are probed.
func (r *reader) annotations(s *model.Service) {
	field := func(name string) string { return "metadata.annotations[" + name + "]" }
	if text, given := r.meta.Annotations[annotation.ExportTo]; given {
		words := strings.Split(text, ",")
		for i := range words {
			words[i] = strings.TrimSpace(words[i])
		}
		var faults []annotation.Fault
		s.ExportTo, faults = annotation.ParseVisibility(words, r.meta.Ref.Namespace)
		for _, f := range faults {
			r.fail(finding{field(annotation.ExportTo), model.ReasonInvalidValue, f.Message})
		}
	}
	if text, given := r.meta.Annotations[annotation.HealthCheck]; given {
		var faults []string
		s.HealthCheck, faults = annotation.ParseHealthCheck(text)
		for _, f := range faults {
			r.fail(finding{field(annotation.HealthCheck), model.ReasonInvalidValue, f})
		}
	}
}

// addresses returns the cluster IPs; a headless service has none.
func (r *reader) addresses(spec corev1.ServiceSpec) []string {
	ips, field := spec.ClusterIPs, "spec.clusterIPs[%d]"
	if len(ips) == 0 && spec.ClusterIP != "" {
		ips, field = []string{spec.ClusterIP}, "spec.clusterIP"
	}
	var out []string
	for i, ip := range ips {
		if ip == corev1.ClusterIPNone || ip == "" {
			continue
		}
		address, err := netip.ParseAddr(ip)
		if err != nil {
			path := field
			if strings.Contains(field, "%") {
				path = fmt.Sprintf(field, i)
			}
			r.fail(finding{path, model.ReasonInvalidValue, quote(ip) + " is no IP address; write one, or None"})
			continue
		}
		out = append(out, address.String())
	}
	return out
}

// externalName returns the one endpoint behind an ExternalName.
func (r *reader) externalName(name string) []model.Endpoint {
	const field = "spec.externalName"
	if name == "" {
		r.fail(finding{field, model.ReasonMissingField, "externalName is missing; write the DNS name that the service stands for"})
		return nil
	}
	host := strings.ToLower(strings.TrimSuffix(name, "."))
	if !isDNSName(host) {
		r.fail(finding{field, model.ReasonInvalidValue, quote(name) + " is no DNS name; correct it"})
		return nil
	}
	return []model.Endpoint{{Field: field, Address: host}}
}

// ports leaves out ports with a fault, and repeated ones.
func (r *reader) ports(in []corev1.ServicePort) []model.ServicePort {
	type key struct {
		number   int32
		protocol corev1.Protocol
	}
	var out []model.ServicePort
	names, numbers := map[string]bool{}, map[key]bool{}
	for i, p := range in {
		field := fmt.Sprintf("spec.ports[%d]", i)
		port, ok := r.port(field, p)
		if !ok {
			continue
		}
		k := key{p.Port, p.Protocol}
		if k.protocol == "" {
			k.protocol = corev1.ProtocolTCP
		}
		if names[p.Name] || numbers[k] {
			r.fail(finding{field, model.ReasonInvalidValue, fmt.Sprintf(
				"another port has the name %s or the number %d and this one is left out; choose others", quote(p.Name), p.Port)})
			continue
		}
		names[p.Name], numbers[k] = true, true
		out = append(out, port)
	}
	return out
}

func (r *reader) port(field string, in corev1.ServicePort) (model.ServicePort, bool) {
	out := model.ServicePort{Name: in.Name, Number: uint32(max(in.Port, 0))}
	if !isPort(in.Port) {
		r.fail(finding{field + ".port", model.ReasonInvalidValue, notAPort(in.Port)})
		return out, false
	}
	switch in.Protocol {
	case "", corev1.ProtocolTCP:
		out.Protocol = protocol(in)
	case corev1.ProtocolUDP:
		out.Protocol = model.ProtocolUDP
	case corev1.ProtocolSCTP:
		r.fail(finding{field + ".protocol", model.ReasonNotYetSupported, "SCTP is not supported and the port is left out; write TCP or UDP"})
		return out, false
	default:
		r.fail(finding{field + ".protocol", model.ReasonInvalidValue, quote(string(in.Protocol)) + " is no protocol; write TCP or UDP, and the application's in appProtocol"})
		return out, false
	}
	switch {
	case in.TargetPort.Type == intstr.String:
		out.TargetName = in.TargetPort.StrVal
	case in.TargetPort.IntVal == 0: // not given: the port's own number
	case !isPort(in.TargetPort.IntVal):
		r.fail(finding{field + ".targetPort", model.ReasonInvalidValue, notAPort(in.TargetPort.IntVal)})
		return out, false
	default:
		out.TargetPort = uint32(in.TargetPort.IntVal)
	}
	return out, true
}

// protocol returns what is spoken on a TCP port: appProtocol says it, else the
// name before its first hyphen, else it is HTTP as Istio's gateways have it.
// Ports where the server speaks first are TCP.
func protocol(in corev1.ServicePort) model.Protocol {
	name := in.Name
	if in.AppProtocol != nil {
		name = *in.AppProtocol
	}
	name = strings.ToLower(name)
	switch name {
	case "kubernetes.io/h2c":
		return model.ProtocolHTTP2
	case "kubernetes.io/ws":
		return model.ProtocolHTTP
	case "kubernetes.io/wss":
		return model.ProtocolHTTPS
	}
	if name == "grpc-web" || strings.HasPrefix(name, "grpc-web-") {
		return model.ProtocolGRPCWeb
	}
	word, _, _ := strings.Cut(name, "-")
	switch p := model.Protocol(strings.ToUpper(word)); p {
	case model.ProtocolHTTP, model.ProtocolHTTP2, model.ProtocolGRPC, model.ProtocolHTTPS, model.ProtocolTLS, model.ProtocolTCP:
		return p
	case "MONGO", "MYSQL", "REDIS":
		return model.ProtocolTCP
	}
	switch in.Port {
	case 25, 53, 3306, 27017: // SMTP, DNS, MySQL, MongoDB
		return model.ProtocolTCP
	}
	return model.ProtocolHTTP
}
