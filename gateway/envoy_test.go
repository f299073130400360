package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/test/envoytest"
)

// server answers delta ADS requests from a fixed set of encoded resources. It
// refuses nothing and forgets nothing: enough to bring one Envoy up.
type server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	resources map[model.ResourceName][]byte
	nacks     chan string
}

// DeltaAggregatedResources answers every subscription once: with the resources
// named, or with all of a type that is asked for without names.
func (s *server) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	seen := map[string]bool{}
	for nonce := 1; ; nonce++ {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) || stream.Context().Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if detail := request.GetErrorDetail(); detail != nil {
			s.nacks <- detail.GetMessage()
		}
		first := !seen[request.GetTypeUrl()]
		seen[request.GetTypeUrl()] = true
		names := request.GetResourceNamesSubscribe()
		if len(names) == 0 && !first {
			continue
		}
		response := s.answer(request.GetTypeUrl(), names)
		response.Nonce = fmt.Sprint(nonce)
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

func (s *server) answer(typeURL string, names []string) *discoveryv3.DeltaDiscoveryResponse {
	response := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	for _, name := range names {
		// Of a certificate on demand Envoy must hear that it does not exist.
		_, ok := s.resources[model.ResourceName{Type: model.TypeSecret, Name: name}]
		if typeURL == string(model.TypeSecret) && !ok && !strings.Contains(name, "/") {
			response.RemovedResources = append(response.RemovedResources, name)
		}
	}
	for name, encoded := range s.resources {
		if string(name.Type) == typeURL && (len(names) == 0 || wanted["*"] || wanted[name.Name]) {
			response.Resources = append(response.Resources, &discoveryv3.Resource{
				Name: name.Name, Version: "1", Resource: &anypb.Any{TypeUrl: typeURL, Value: encoded},
			})
		}
	}
	return response
}

const bootstrap = `
node: {id: test, cluster: test}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
  lds_config: {ads: {}, resource_api_version: V3}
  cds_config: {ads: {}, resource_api_version: V3}
static_resources:
  clusters:
  - name: xds
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %q}}}}]}]}
  - name: echo
    type: STATIC
    connect_timeout: 5s
    load_assignment: {cluster_name: echo, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]}
`

// startEnvoy runs an Envoy on resources, with one static cluster "echo" at the
// address echo. It returns the address of every listener by name, once all of
// them accept connections. Envoy ends with the test.
func startEnvoy(t *testing.T, resources map[model.ResourceName][]byte, echo *net.TCPAddr) map[string]string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "x")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ads := &server{resources: resources, nacks: make(chan string, 100)}
	rpc := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(rpc, ads)
	served := make(chan error, 1)
	go func() { served <- rpc.Serve(listener) }()
	t.Cleanup(func() { rpc.Stop(); <-served })

	admin, log := filepath.Join(dir, "admin"), filepath.Join(dir, "log")
	envoy := exec.Command(envoytest.Binary(t), "--config-yaml", fmt.Sprintf(bootstrap, socket, echo.Port),
		"--admin-address-path", admin, "--log-path", log, "--log-level", "warn",
		"--concurrency", "1", "--disable-hot-restart")
	envoy.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := envoy.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- envoy.Wait() }()
	t.Cleanup(func() {
		envoy.Process.Kill()
		<-exited
		if t.Failed() {
			text, _ := os.ReadFile(log)
			t.Logf("envoy's log:\n%s", text)
		}
	})
	want := 0
	for name := range resources {
		if name.Type == model.TypeListener {
			want++
		}
	}
	return awaitListeners(t, func() (map[string]string, error) {
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("envoy ended: %v", err)
		case nack := <-ads.nacks:
			t.Fatalf("envoy refused a resource: %s", nack)
		default:
		}
		return addresses(admin)
	}, want)
}

// awaitListeners polls until want listeners are open.
func awaitListeners(t *testing.T, poll func() (map[string]string, error), want int) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		open, err := poll()
		if err == nil && len(open) == want {
			return open
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%d of %d listeners are open after a minute: %v", len(open), want, err)
		case <-tick.C:
		}
	}
}

// addresses asks Envoy's admin interface, whose address stands in a file, for
// its listeners; an error means not yet.
func addresses(adminFile string) (map[string]string, error) {
	admin, err := os.ReadFile(adminFile)
	if err != nil {
		return nil, err
	}
	if ready, err := get("http://" + strings.TrimSpace(string(admin)) + "/ready"); err != nil || !strings.HasPrefix(ready, "LIVE") {
		return nil, fmt.Errorf("not ready: %s %w", ready, err)
	}
	body, err := get("http://" + strings.TrimSpace(string(admin)) + "/listeners?format=json")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Listeners []struct {
			Name  string `json:"name"`
			Local struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return nil, err
	}
	open := map[string]string{}
	for _, l := range answer.Listeners {
		if l.Local.Socket.Port != 0 {
			open[l.Name] = net.JoinHostPort(l.Local.Socket.Address, fmt.Sprint(l.Local.Socket.Port))
		}
	}
	return open, nil
}

func get(url string) (string, error) {
	response, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// seen is a request as the destination received it.
type seen struct {
	Host   string
	Path   string
	Proto  string
	Header http.Header
}

// startEcho runs a destination that answers with the request it received, or
// accepts a WebSocket.
func startEcho(t *testing.T) *net.TCPAddr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	echo := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			hijackEcho(w)
			return
		}
		w.Header().Set("Server", "echo/1")
		_ = json.NewEncoder(w).Encode(seen{r.Host, r.RequestURI, r.Proto, r.Header})
	})}
	served := make(chan error, 1)
	go func() { served <- echo.Serve(listener) }()
	t.Cleanup(func() { echo.Close(); <-served })
	return listener.Addr().(*net.TCPAddr)
}

// hijackEcho switches protocols and returns every byte.
func hijackEcho(w http.ResponseWriter) {
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprint(buffered, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	buffered.Flush()
	_, _ = io.Copy(conn, buffered)
}
