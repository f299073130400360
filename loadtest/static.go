package loadtest

import (
	"fmt"
	"strings"
	"text/template"
)

// staticTemplate is what somebody would write by hand for the same routes: one
// listener, one route table, static clusters, and nothing else.
const staticTemplate = `static_resources:
  listeners:
  - name: load
    address: {socket_address: {address: 127.0.0.1, port_value: {{.Port}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: load
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            name: load
            virtual_hosts:
{{- range .Hosts}}
            - name: {{.Name}}
              domains: ["{{.Name}}"]
              routes:
              - match: {prefix: /api/}
                route: {cluster: {{.API}}}
              - match: {prefix: /, headers: [{name: x-canary, string_match: {exact: "1"}}]}
                route: {cluster: {{.Canary}}}
              - match: {prefix: /}
                route: {cluster: {{.Rest}}}
{{- end}}
  clusters:
{{- range .Services}}
  - name: {{.Name}}
    type: STATIC
    connect_timeout: 10s
    load_assignment:
      cluster_name: {{.Name}}
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {{.Port}}}}}
{{- end}}
`

// staticService and staticHost are what the template reads.
type staticService struct {
	Name string
	Port int
}

type staticHost struct{ Name, API, Canary, Rest string }

// staticConfig returns an Envoy configuration with the routes of a world, on
// another port.
func staticConfig(w *world, port int) (string, error) {
	in := struct {
		Port     int
		Hosts    []staticHost
		Services []staticService
	}{Port: port}
	for _, s := range w.services {
		in.Services = append(in.Services, staticService{s.name, s.port})
	}
	n := len(w.services)
	for i := range w.goesTo {
		in.Hosts = append(in.Hosts, staticHost{
			hostName(i), w.services[i%n].name, w.services[(i+1)%n].name, w.backendOf(i),
		})
	}
	t, err := template.New("static").Parse(staticTemplate)
	if err != nil {
		return "", fmt.Errorf("parse the static configuration: %w", err)
	}
	var out strings.Builder
	if err := t.Execute(&out, in); err != nil {
		return "", fmt.Errorf("write the static configuration: %w", err)
	}
	return out.String(), nil
}
