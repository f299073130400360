package loadtest

import (
	"fmt"
	"strings"
	"text/template"
)

// staticTemplate is what somebody would write by hand for the same routes: one
// listener, one route table, static clusters. At an edge it has what Envoy's own
// guide for edge proxies tells everybody to set, and the retries that the rules
// of a VirtualService have by default; else it has nothing more.
//
// Source: Envoy documentation, "Configuring Envoy as an edge proxy".
const staticTemplate = `{{if .Edge -}}
overload_manager:
  refresh_interval: 0.25s
  resource_monitors:
  - name: envoy.resource_monitors.fixed_heap
    typed_config: {"@type": type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig, max_heap_size_bytes: 2147483648}
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config: {"@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig, max_active_downstream_connections: 50000}
  actions:
  - {name: envoy.overload_actions.shrink_heap, triggers: [{name: envoy.resource_monitors.fixed_heap, threshold: {value: 0.95}}]}
  - {name: envoy.overload_actions.stop_accepting_requests, triggers: [{name: envoy.resource_monitors.fixed_heap, threshold: {value: 0.98}}]}
layered_runtime:
  layers:
  - name: limits
    static_layer: {envoy.resource_limits.listener.load.connection_limit: 10000}
{{end -}}
static_resources:
  listeners:
  - name: load
    address: {socket_address: {address: 127.0.0.1, port_value: {{.Port}}}}
{{- if .Edge}}
    per_connection_buffer_limit_bytes: 32768
{{- end}}
{{- if or .SNI .Secure}}
    listener_filters:
    - name: envoy.filters.listener.tls_inspector
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}
{{- end}}
    filter_chains:
{{- range .Streams}}
    - name: {{.Name}}
{{- if $.SNI}}
      filter_chain_match: {server_names: ["{{.Name}}"]}
{{- end}}
      filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: load, cluster: {{.Rest}}}
{{- end}}
{{- if and .Hosts (not .Secure)}}
    - filters:
{{- template "manager" .}}
{{- end}}
{{- range .Secure}}
    - name: {{.Name}}
      filter_chain_match: {server_names: ["{{.Name}}"]}
      transport_socket_connect_timeout: 15s
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          session_ticket_keys: {keys: [{filename: "{{$.Tickets}}"}]}
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_params:
              tls_minimum_protocol_version: TLSv1_2
              tls_maximum_protocol_version: TLSv1_3
              cipher_suites:
              - "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]"
              - "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]"
              - ECDHE-ECDSA-AES256-GCM-SHA384
              - ECDHE-RSA-AES256-GCM-SHA384
              ecdh_curves: [X25519MLKEM768, X25519, P-256]
              signature_algorithms:
              - ecdsa_secp256r1_sha256
              - rsa_pss_rsae_sha256
              - rsa_pkcs1_sha256
              - ecdsa_secp384r1_sha384
              - rsa_pss_rsae_sha384
              - rsa_pkcs1_sha384
              - ecdsa_secp521r1_sha512
              - rsa_pss_rsae_sha512
              - rsa_pkcs1_sha512
            tls_certificates:
            - {certificate_chain: {filename: "{{.Chain}}"}, private_key: {filename: "{{.Key}}"}}
      filters:
{{- template "manager" $}}
{{- end}}
  clusters:
{{- range .Services}}
  - name: {{.Name}}
    type: STATIC
    connect_timeout: 10s
{{- if $.Edge}}
    per_connection_buffer_limit_bytes: 32768
{{- end}}
{{- if $.HTTP2}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
{{- end}}
    load_assignment:
      cluster_name: {{.Name}}
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {{.Port}}}}}
{{- end}}
`

// staticManager is the connection manager of every chain that has HTTP inside.
const staticManager = `
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: load
{{- if .Edge}}
          use_remote_address: true
          normalize_path: true
          merge_slashes: true
          path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT
          common_http_protocol_options: {idle_timeout: 3600s, headers_with_underscores_action: REJECT_REQUEST, max_headers_count: 100}
          http2_protocol_options: {max_concurrent_streams: 100, initial_stream_window_size: 65536, initial_connection_window_size: 1048576}
          stream_idle_timeout: 300s
          request_timeout: 300s
          request_headers_timeout: 30s
{{- end}}
          upgrade_configs: [{upgrade_type: websocket}]
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
{{- if $.Edge}}
              retry_policy:
                retry_on: connect-failure,refused-stream,unavailable,cancelled
                num_retries: 2
                host_selection_retry_max_attempts: 5
                retry_host_predicate:
                - name: envoy.retry_host_predicates.previous_hosts
                  typed_config: {"@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}
{{- end}}
              routes:
{{- if .API}}
              - match: {prefix: /api/}
                route: {cluster: {{.API}}, timeout: 0s}
              - match: {prefix: /, headers: [{name: x-canary, string_match: {exact: "1"}}]}
                route: {cluster: {{.Canary}}, timeout: 0s}
{{- end}}
              - match: {prefix: /}
                route: {cluster: {{.Rest}}, timeout: 0s}
{{- end}}
`

// staticInput is what the template reads.
type staticInput struct {
	Port  int
	Edge  bool // as at an edge
	HTTP2 bool // towards the services
	// Hosts are of HTTP; Streams are TCP chains, chosen by server name if SNI.
	Hosts    []staticHost
	Streams  []staticHost
	SNI      bool
	Services []staticService
	// Secure are the server names under which Hosts are found, each with the
	// paths of its certificate and key; none leaves out TLS. Tickets is the path
	// of the key of session tickets.
	Secure  []staticSecure
	Tickets string
}

type staticSecure struct{ Name, Chain, Key string }

type staticService struct {
	Name string
	Port int
}

// staticHost is a host and the services of its routes; only Rest if API is "".
type staticHost struct{ Name, API, Canary, Rest string }

// staticWorld is the routes of a world on another port.
func staticWorld(w *world, port int, edge bool) staticInput {
	in := staticInput{Port: port, Edge: edge}
	for _, s := range w.services {
		in.Services = append(in.Services, staticService{s.name, s.port})
	}
	n := len(w.services)
	for i := range w.goesTo {
		in.Hosts = append(in.Hosts, staticHost{
			hostName(i), w.services[i%n].name, w.services[(i+1)%n].name, w.backendOf(i),
		})
	}
	return in
}

// staticConfig returns an Envoy configuration.
func staticConfig(in staticInput) (string, error) {
	t, err := template.New("static").Parse(staticTemplate)
	if err == nil {
		_, err = t.New("manager").Parse(strings.TrimRight(staticManager, "\n"))
	}
	if err != nil {
		return "", fmt.Errorf("parse the static configuration: %w", err)
	}
	var out strings.Builder
	if err := t.Execute(&out, in); err != nil {
		return "", fmt.Errorf("write the static configuration: %w", err)
	}
	return out.String(), nil
}
