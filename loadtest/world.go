package loadtest

import (
	"fmt"
	"strings"
)

// world is a made-up configuration: one gateway, services that each have one
// backend, and hosts with three routes.
type world struct {
	port     int // of the gateway, on 127.0.0.1
	services []backendRef
	// goesTo holds for every host the service of its last route, the one that
	// edits move. The first two routes never move, so that every service stays
	// in use.
	goesTo []int
}

// backendRef is a backend by its name and port on 127.0.0.1.
type backendRef struct {
	name string
	port int
}

// file is one file of the watched folder.
type file struct {
	path string // below the folder
	text string
}

// newWorld spreads hosts over services.
func newWorld(port, hosts int, services []backendRef) *world {
	w := &world{port: port, services: services}
	for range hosts {
		w.addHost()
	}
	return w
}

// addHost adds a host and returns its index.
func (w *world) addHost() int {
	i := len(w.goesTo)
	w.goesTo = append(w.goesTo, i%len(w.services))
	return i
}

// moveHost sends a host to the next service.
func (w *world) moveHost(i int) { w.goesTo[i] = (w.goesTo[i] + 1) % len(w.services) }

// hostName returns the DNS name of a host: "h00042.load.test".
func hostName(i int) string { return fmt.Sprintf("h%05d.load.test", i) }

// objectName returns the name of the objects of a host: "h00042".
func objectName(i int) string {
	name, _, _ := strings.Cut(hostName(i), ".")
	return name
}

// serviceHost returns the DNS name of the service of a backend.
func serviceHost(name string) string { return name + ".load.internal" }

// backendOf returns the name of the backend that should answer for a host.
func (w *world) backendOf(i int) string { return w.services[w.goesTo[i]].name }

// files returns the whole world.
func (w *world) files() []file {
	out := []file{{"gateway.yaml", w.gatewayYAML()}}
	for _, s := range w.services {
		out = append(out, serviceFile(s.name, s.port))
	}
	for i := range w.goesTo {
		out = append(out, w.hostFile(i))
	}
	return out
}

func (w *world) gatewayYAML() string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: load}
spec:
  servers:
  - port: {number: %d, name: http, protocol: HTTP}
    bind: 127.0.0.1
    hosts: ["*"]
`, w.port)
}

// serviceFile declares a service with one endpoint.
func serviceFile(name string, port int) file {
	return file{"services/" + name + ".yaml", fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s}
spec:
  hosts: [%s]
  resolution: STATIC
  ports:
  - {number: 80, name: http, protocol: HTTP}
  endpoints:
  - address: 127.0.0.1
    ports: {http: %d}
`, name, serviceHost(name), port)}
}

// hostFile declares a host as it is now.
func (w *world) hostFile(i int) file { return w.hostFileTo(i, w.backendOf(i)) }

// hostFileTo declares a host whose last route goes to a named service.
func (w *world) hostFileTo(i int, service string) file {
	fixed := w.services[i%len(w.services)].name
	canary := w.services[(i+1)%len(w.services)].name
	name := objectName(i)
	return file{"hosts/" + name + ".yaml", fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s}
spec:
  hosts: [%s]
  gateways: [load]
  http:
  - match: [{uri: {prefix: /api/}}]
    route: [{destination: {host: %s, port: {number: 80}}}]
  - match: [{headers: {x-canary: {exact: "1"}}}]
    route: [{destination: {host: %s, port: {number: 80}}}]
  - route: [{destination: {host: %s, port: {number: 80}}}]
`, name, hostName(i), serviceHost(fixed), serviceHost(canary), serviceHost(service))}
}
