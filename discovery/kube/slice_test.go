package kube

import (
	"testing"

	"github.com/sluicegw/sluice/model"
)

const sliceHead = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x, labels: {kubernetes.io/service-name: web}}\n"

func TestEndpointSlice(t *testing.T) {
	slice := func(ports []model.SlicePort, endpoints ...model.Endpoint) *model.EndpointSlice {
		return &model.EndpointSlice{Service: "web", Ports: ports, Endpoints: endpoints}
	}
	http := []model.SlicePort{{Name: "http", Number: 8080}}
	at := func(field, address string, health model.Health) model.Endpoint {
		return model.Endpoint{Field: field, Address: address, Health: health}
	}
	zoned := at("endpoints[0]", "127.0.0.1", model.HealthHealthy)
	zoned.Locality.Zone = "west"
	runCases(t, []decodeCase{
		{"served", sliceHead + `
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP, appProtocol: http}]
endpoints: [{addresses: [127.0.0.1], zone: west, nodeName: node, hostname: h, targetRef: {kind: Pod, name: p}, hints: {forZones: [{name: west}]}}]
`, slice(http, zoned), nil},
		{
			"without name of the port", sliceHead + "addressType: IPv6\nports: [{port: 8080}]\nendpoints: [{addresses: [\"::1\"]}]",
			slice([]model.SlicePort{{Number: 8080}}, at("endpoints[0]", "::1", model.HealthHealthy)), nil,
		},
		{"conditions", sliceHead + `
addressType: IPv4
ports: []
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: true}}
- {addresses: [10.0.0.2], conditions: {ready: false}}
- {addresses: [10.0.0.3], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.0.0.4], conditions: {ready: false, serving: false, terminating: true}}
- {addresses: [10.0.0.5], conditions: {terminating: true}}
- {addresses: [10.0.0.6], conditions: {}}
- {addresses: [10.0.0.7], conditions: {ready: false, serving: true}}
- {addresses: [10.0.0.8], conditions: {ready: true, serving: false, terminating: true}}
`, slice(nil,
			at("endpoints[0]", "10.0.0.1", model.HealthHealthy),
			at("endpoints[1]", "10.0.0.2", model.HealthUnhealthy),
			at("endpoints[2]", "10.0.0.3", model.HealthDraining),
			at("endpoints[3]", "10.0.0.4", model.HealthUnhealthy),
			at("endpoints[4]", "10.0.0.5", model.HealthDraining),
			at("endpoints[5]", "10.0.0.6", model.HealthHealthy),
			at("endpoints[6]", "10.0.0.7", model.HealthUnhealthy),
			at("endpoints[7]", "10.0.0.8", model.HealthUnhealthy),
		), nil},
		{"bad endpoints leave, good ones stay", sliceHead + `
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: []}
- {addresses: [x]}
- {addresses: ["::1"]}
- {addresses: [10.0.0.1, 10.0.0.2]}
- {addresses: [10.0.0.1]}
- {addresses: [169.254.169.254]}
`, slice(http, at("endpoints[3]", "10.0.0.1", model.HealthHealthy), at("endpoints[5]", "169.254.169.254", model.HealthHealthy)), []string{
			"error endpoints[0].addresses MissingField", "error endpoints[1].addresses[0] InvalidValue",
			"error endpoints[2].addresses[0] InvalidValue", "warning endpoints[3].addresses InvalidValue",
			"warning endpoints[4].addresses[0] InvalidValue",
		}},
		{"bad ports leave, good ones stay", sliceHead + `
addressType: IPv6
ports: [{name: a}, {name: b, port: 0}, {name: c, port: 65536}, {name: s, port: 1, protocol: SCTP}, {name: http, port: 8080}, {name: http, port: 8081}]
endpoints: [{addresses: ["fe80::1%eth0"]}, {addresses: [10.0.0.1]}]
`, slice(http), []string{
			"error endpoints[0].addresses[0] InvalidValue", "error endpoints[1].addresses[0] InvalidValue",
			"error ports[0].port MissingField", "error ports[1].port InvalidValue", "error ports[2].port InvalidValue",
			"error ports[5].name InvalidValue",
		}},
		{"names", sliceHead + "addressType: FQDN\nendpoints: [{addresses: [a.example.com]}]", slice(nil), []string{"error addressType NotYetSupported"}},
		{"without address type", sliceHead + "endpoints: [{addresses: [10.0.0.1]}]", slice(nil), []string{"error addressType MissingField"}},
		{"unknown address type", sliceHead + "addressType: IPv5", slice(nil), []string{"error addressType InvalidValue"}},
		{"unknown field", sliceHead + "addressType: IPv4\nendpoints: [{adresses: [10.0.0.1]}]", slice(nil), []string{
			"error endpoints[0].addresses MissingField", "error endpoints[0].adresses UnknownField",
		}},
		{"wrong type", sliceHead + "addressType: IPv4\nendpoints: [{addresses: 10.0.0.1}]", nil, []string{"error endpoints.addresses WrongType"}},
		{"of nobody", "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x}\naddressType: IPv4", nil, []string{"error metadata.labels MissingField"}},
	})
}
