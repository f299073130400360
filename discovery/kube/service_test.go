package kube

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluicegw/sluice/model"
)

const serviceHead = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\n"

func service(ports ...model.ServicePort) *model.Service {
	return &model.Service{
		Hosts: []string{"x.shop.svc.cluster.local"}, Resolution: model.ResolutionSlices, Ports: ports,
	}
}

func TestService(t *testing.T) {
	http := model.ServicePort{Name: "http", Number: 80, Protocol: model.ProtocolHTTP}
	withIPs := service(http)
	withIPs.Addresses = []string{"10.0.0.1", "fd00::1"}
	oneIP := service(http)
	oneIP.Addresses = []string{"10.0.0.1"}
	external := &model.Service{
		Hosts: []string{"x.shop.svc.cluster.local"}, Resolution: model.ResolutionDNS, External: true,
		Endpoints: []model.Endpoint{{Field: "spec.externalName", Address: "db.example.com"}},
		Ports:     []model.ServicePort{http},
	}
	runCases(t, []decodeCase{
		{"target ports by number and name", serviceHead + `
spec:
  type: ClusterIP
  clusterIP: 10.0.0.1
  clusterIPs: [10.0.0.1, "fd00:0::1"]
  selector: {app: x}
  sessionAffinity: None
  ports: [{name: http, port: 80}]
status: {loadBalancer: {}, whatever: 1}
`, withIPs, nil},
		{"one address", serviceHead + "spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}]}", oneIP, nil},
		{"bad addresses", serviceHead + "spec: {clusterIPs: [x, 10.0.0.1], ports: [{name: http, port: 80}]}", oneIP, []string{"error spec.clusterIPs[0] InvalidValue"}},
		{"one bad address", serviceHead + "spec: {clusterIP: x, ports: [{name: http, port: 80}]}", service(http), []string{"error spec.clusterIP InvalidValue"}},
		{"headless", serviceHead + `
spec:
  clusterIP: None
  ports:
  - {port: 80, targetPort: 8080}
  - {name: web, port: 81, targetPort: web}
  - {name: udp, port: 80, protocol: UDP, targetPort: 0}
`, service(
			model.ServicePort{Number: 80, Protocol: model.ProtocolHTTP, TargetPort: 8080},
			model.ServicePort{Name: "web", Number: 81, Protocol: model.ProtocolHTTP, TargetName: "web"},
			model.ServicePort{Name: "udp", Number: 80, Protocol: model.ProtocolUDP},
		), nil},
		{"bad ports leave, good ones stay", serviceHead + `
spec:
  type: LoadBalancer
  ports:
  - {name: a, port: 0}
  - {name: b, port: 65536}
  - {name: c, port: -1}
  - {name: d, port: 80, targetPort: 70000}
  - {name: e, port: 80, protocol: SCTP}
  - {name: f, port: 80, protocol: HTTP}
  - {name: http, port: 80}
  - {name: http, port: 81}
  - {name: g, port: 80, protocol: TCP}
`, service(http), []string{
			"error spec.ports[0].port InvalidValue", "error spec.ports[1].port InvalidValue", "error spec.ports[2].port InvalidValue",
			"error spec.ports[3].targetPort InvalidValue", "error spec.ports[4].protocol NotYetSupported",
			"error spec.ports[5].protocol InvalidValue", "error spec.ports[7] InvalidValue", "error spec.ports[8] InvalidValue",
		}},
		{"external name", serviceHead + "spec: {type: ExternalName, externalName: DB.example.com., ports: [{name: http, port: 80}]}", external, nil},
		{"external name missing", serviceHead + "spec: {type: ExternalName}", nil, []string{"error spec.externalName MissingField"}},
		{"external name bad", serviceHead + `spec: {type: ExternalName, externalName: "a b"}`, nil, []string{"error spec.externalName InvalidValue"}},
		{"unknown type", serviceHead + "spec: {type: Magic}", nil, []string{"error spec.type InvalidValue"}},
		{"node port without ports", serviceHead + "spec: {type: NodePort}", service(), nil},
		{"unknown fields", serviceHead + "extra: 1\nspec: {prots: [], ports: [{name: http, port: 80, nodeprot: 5}]}", service(http), []string{
			"error extra UnknownField", "error spec.ports[0].nodeprot UnknownField", "error spec.prots UnknownField",
		}},
		{"wrong type", serviceHead + "spec: {ports: [{name: http, port: many}]}", nil, []string{"error spec.ports.port WrongType"}},
		{"wrong type of spec", serviceHead + "spec: 5", nil, []string{"error spec WrongType"}},
	})
}

func TestServiceAnnotations(t *testing.T) {
	head := func(annotations string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: x, annotations: {" + annotations + "}}\nspec: {}"
	}
	visible := func(namespaces ...string) *model.Service {
		s := service()
		s.ExportTo = model.Visibility{}
		s.ExportTo = append(s.ExportTo, namespaces...)
		return s
	}
	probed := service()
	probed.HealthCheck = &model.HealthCheck{Interval: 10 * time.Second, Timeout: time.Second, Healthy: 2, Unhealthy: 3}
	runCases(t, []decodeCase{
		{"everywhere", head(`networking.istio.io/exportTo: "*"`), service(), nil},
		{"here and there", head(`networking.istio.io/exportTo: "web, ."`), visible("shop", "web"), nil},
		{"nowhere", head(`networking.istio.io/exportTo: "~"`), visible(), nil},
		{"a bad list shows nothing", head(`networking.istio.io/exportTo: "A b"`), visible(), []string{
			"error metadata.annotations[networking.istio.io/exportTo] InvalidValue",
		}},
		{"an empty list shows nothing", head(`networking.istio.io/exportTo: ""`), visible(), []string{
			"error metadata.annotations[networking.istio.io/exportTo] InvalidValue",
		}},
		{"probed", head(`sluice.dev/health-check: "tcp interval=10s"`), probed, nil},
		{"badly probed", head(`sluice.dev/health-check: "tcp host=x"`), service(), []string{
			"error metadata.annotations[sluice.dev/health-check] InvalidValue",
		}},
	})
}

func TestProtocol(t *testing.T) {
	app := func(s string) *string { return &s }
	for _, c := range []struct {
		port corev1.ServicePort
		want model.Protocol
	}{
		{corev1.ServicePort{Name: "http"}, model.ProtocolHTTP},
		{corev1.ServicePort{Name: "HTTP-web"}, model.ProtocolHTTP},
		{corev1.ServicePort{Name: "http2"}, model.ProtocolHTTP2},
		{corev1.ServicePort{Name: "http2-x"}, model.ProtocolHTTP2},
		{corev1.ServicePort{Name: "grpc"}, model.ProtocolGRPC},
		{corev1.ServicePort{Name: "grpc-x"}, model.ProtocolGRPC},
		{corev1.ServicePort{Name: "grpc-web"}, model.ProtocolGRPCWeb},
		{corev1.ServicePort{Name: "grpc-web-x"}, model.ProtocolGRPCWeb},
		{corev1.ServicePort{Name: "grpc-website"}, model.ProtocolGRPC},
		{corev1.ServicePort{Name: "https"}, model.ProtocolHTTPS},
		{corev1.ServicePort{Name: "tls-x"}, model.ProtocolTLS},
		{corev1.ServicePort{Name: "tcp"}, model.ProtocolTCP},
		{corev1.ServicePort{Name: "redis-x"}, model.ProtocolTCP},
		{corev1.ServicePort{Name: "mongo"}, model.ProtocolTCP},
		{corev1.ServicePort{Name: "mysql"}, model.ProtocolTCP},
		{corev1.ServicePort{Name: "web"}, model.ProtocolHTTP},
		{corev1.ServicePort{}, model.ProtocolHTTP},
		{corev1.ServicePort{Port: 3306}, model.ProtocolTCP},
		{corev1.ServicePort{Name: "http", Port: 3306}, model.ProtocolHTTP},
		{corev1.ServicePort{Name: "tcp", AppProtocol: app("http")}, model.ProtocolHTTP},
		{corev1.ServicePort{Name: "http", AppProtocol: app("kubernetes.io/h2c")}, model.ProtocolHTTP2},
		{corev1.ServicePort{Name: "tcp", AppProtocol: app("kubernetes.io/ws")}, model.ProtocolHTTP},
		{corev1.ServicePort{Name: "http", AppProtocol: app("kubernetes.io/wss")}, model.ProtocolHTTPS},
		{corev1.ServicePort{Name: "tcp", AppProtocol: app("example.com/own")}, model.ProtocolHTTP},
	} {
		if got := protocol(c.port); got != c.want {
			t.Errorf("protocol(%+v) = %s, want %s", c.port, got, c.want)
		}
	}
}
