package kube

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
)

// decodeEndpointSlice gives an EndpointSlice its meaning; nil when it does not
// say whose endpoints these are. The endpoints carry no labels: those are on
// the pods, which are not among the inputs.
func decodeEndpointSlice(o config.Object) (model.Value, []model.Problem) {
	r := &reader{meta: o.Meta}
	var in struct {
		header
		AddressType discoveryv1.AddressType    `json:"addressType"`
		Endpoints   []discoveryv1.Endpoint     `json:"endpoints"`
		Ports       []discoveryv1.EndpointPort `json:"ports"`
	}
	if !r.read(o.JSON, &in) {
		return nil, r.sorted()
	}
	service := o.Labels[discoveryv1.LabelServiceName]
	if service == "" {
		r.fail(finding{
			"metadata.labels", model.ReasonMissingField,
			"the label " + discoveryv1.LabelServiceName + " is missing; set it to the name of the service",
		})
		return nil, r.sorted()
	}
	s := &model.EndpointSlice{Meta: o.Meta, Service: service, Ports: r.slicePorts(in.Ports)}
	switch in.AddressType {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
		s.Endpoints = r.endpoints(in.AddressType, in.Endpoints)
	case discoveryv1.AddressTypeFQDN:
		r.fail(finding{
			"addressType", model.ReasonNotYetSupported,
			"endpoints by name are not supported and left out; write IPv4 or IPv6, or use a ServiceEntry with resolution DNS",
		})
	case "":
		r.fail(finding{"addressType", model.ReasonMissingField, "addressType is missing and the endpoints are left out; write IPv4 or IPv6"})
	default:
		r.fail(finding{
			"addressType", model.ReasonInvalidValue,
			quote(string(in.AddressType)) + " is no type of address and the endpoints are left out; write IPv4 or IPv6",
		})
	}
	return s, r.sorted()
}

func (r *reader) slicePorts(in []discoveryv1.EndpointPort) []model.SlicePort {
	var out []model.SlicePort
	seen := map[string]bool{}
	for i, p := range in {
		field := fmt.Sprintf("ports[%d]", i)
		name := value(p.Name, "")
		switch {
		case p.Port == nil:
			r.fail(finding{field + ".port", model.ReasonMissingField, "port is missing and the entry is left out; write a number from 1 to 65535"})
			continue
		case !isPort(*p.Port):
			r.fail(finding{field + ".port", model.ReasonInvalidValue, notAPort(*p.Port)})
			continue
		case value(p.Protocol, corev1.ProtocolTCP) == corev1.ProtocolSCTP:
			continue // its service's port is reported
		case seen[name]:
			r.fail(finding{
				field + ".name", model.ReasonInvalidValue,
				"another port has the name " + quote(name) + " and this one is left out; choose another",
			})
			continue
		}
		seen[name] = true
		out = append(out, model.SlicePort{Name: name, Number: uint32(*p.Port)})
	}
	return out
}

// endpoints leaves out endpoints with a fault, and repeated ones. Only the
// first address of an endpoint counts, as the API says.
func (r *reader) endpoints(kind discoveryv1.AddressType, in []discoveryv1.Endpoint) []model.Endpoint {
	var out []model.Endpoint
	seen := map[netip.Addr]bool{}
	for i, e := range in {
		field := fmt.Sprintf("endpoints[%d]", i)
		if len(e.Addresses) == 0 {
			r.fail(finding{field + ".addresses", model.ReasonMissingField, "addresses is empty and the endpoint is left out; write one IP address"})
			continue
		}
		if len(e.Addresses) > 1 {
			r.warn(finding{field + ".addresses", model.ReasonInvalidValue, "only the first address is used; make an endpoint of each"})
		}
		address, err := netip.ParseAddr(e.Addresses[0])
		if err != nil || address.Zone() != "" || address.Is4() != (kind == discoveryv1.AddressTypeIPv4) {
			r.fail(finding{field + ".addresses[0]", model.ReasonInvalidValue, fmt.Sprintf(
				"%s is no %s address and the endpoint is left out; correct it", quote(e.Addresses[0]), kind)})
			continue
		}
		if seen[address] {
			r.warn(finding{field + ".addresses[0]", model.ReasonInvalidValue, fmt.Sprintf(
				"%s is listed twice; remove one of them", quote(e.Addresses[0]))})
			continue
		}
		seen[address] = true
		out = append(out, model.Endpoint{
			Field:    field,
			Address:  address.String(),
			Locality: model.Locality{Zone: value(e.Zone, "")},
			Health:   health(e.Conditions),
		})
	}
	return out
}

// health reads the conditions of an endpoint. Source: the EndpointSlice API: a
// missing ready means true, a missing serving means the same as ready, a
// missing terminating means false.
func health(c discoveryv1.EndpointConditions) model.Health {
	ready := value(c.Ready, true)
	switch {
	case value(c.Terminating, false) && value(c.Serving, ready):
		return model.HealthDraining
	case ready && !value(c.Terminating, false):
		return model.HealthHealthy
	}
	return model.HealthUnhealthy
}

// value returns what a pointer points to, or the default for nil.
func value[T any](p *T, byDefault T) T {
	if p == nil {
		return byDefault
	}
	return *p
}
