package gateway_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	dfpclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	dfpcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"sigs.k8s.io/yaml"

	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
)

// patience bounds every wait for an answer.
const patience = 20 * time.Second

// clusterAt is a cluster of one address; options is nil for HTTP/1.1 or bytes.
func clusterAt(t *testing.T, name string, address net.Addr, options *upstreamhttpv3.HttpProtocolOptions) *clusterv3.Cluster {
	t.Helper()
	at := netip.MustParseAddrPort(address.String())
	text := fmt.Sprintf("{name: %q, type: STATIC, connect_timeout: 5s, load_assignment: {cluster_name: %q, endpoints: [{lb_endpoints: [{endpoint: {address: "+
		"{socket_address: {address: %q, port_value: %d}}}}]}]}}\n", name, name, at.Addr(), at.Port())
	asJSON, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c := new(clusterv3.Cluster)
	if err := protojson.Unmarshal(asJSON, c); err != nil {
		t.Fatal(err)
	}
	if options != nil {
		c.TypedExtensionProtocolOptions = map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(t, options)}
	}
	return c
}

func packed(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// serve accepts TCP connections for handle until the test ends.
func serve(t *testing.T, handle func(net.Conn)) net.Addr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); handle(conn) }()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return listener.Addr()
}

// greeter names itself at once and then returns every byte.
func greeter(t *testing.T, name string) net.Addr {
	t.Helper()
	return serve(t, func(conn net.Conn) {
		fmt.Fprintln(conn, name)
		_, _ = io.Copy(conn, conn)
	})
}

// tlsServer names itself in its certificate.
func tlsServer(t *testing.T, name string) net.Addr {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	config := &stdtls.Config{Certificates: []stdtls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, stdtls.Server(conn, config)) })
}

// dialFrom connects from a local address; "" is any.
func dialFrom(t *testing.T, local, address string) net.Conn {
	t.Helper()
	d := net.Dialer{Timeout: patience}
	if local != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(local)}
	}
	conn, err := d.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// greeting is the name of the server that conn reached; "" if conn was closed.
func greeting(t *testing.T, conn net.Conn) string {
	t.Helper()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("neither a greeting nor a close: %v", err)
	}
	return strings.TrimSpace(line)
}

// certified is the name of the TLS server behind sni; "" if it was not reached.
func certified(t *testing.T, address, sni string) string {
	t.Helper()
	conn := stdtls.Client(dialFrom(t, "", address), &stdtls.Config{ServerName: sni, InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		return ""
	}
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// streams are stream listeners in the making, one on each bind.
type streams struct {
	t         *testing.T
	resources map[model.ResourceName][]byte
	targets   map[model.Destination]model.Target
	cache     *dfpcommonv3.DnsCacheConfig
}

func newStreams(t *testing.T) *streams {
	return &streams{t: t, resources: map[model.ResourceName][]byte{}, targets: map[model.Destination]model.Target{}}
}

// target makes a destination of that name which goes to address.
func (s *streams) target(name string, address net.Addr, policy *model.StreamPolicy) {
	s.targets[model.Destination{Host: name}] = model.Target{Cluster: name, Stream: policy}
	add(s.t, s.resources, model.TypeCluster, clusterAt(s.t, name, address, nil))
}

// listen adds the listener of servers; it must have as many problems as wanted.
func (s *streams) listen(address string, problems int, servers ...gateway.StreamServer) {
	s.t.Helper()
	l, got := gateway.StreamListener(gateway.StreamInput{
		Bind: model.Bind{Address: address}, Settings: model.DefaultSettings(), Servers: servers, Targets: s.targets, DNSCache: s.cache,
	})
	if l == nil || len(got) != problems {
		s.t.Fatalf("listener %v with problems %v, want %d", l, got, problems)
	}
	add(s.t, s.resources, model.TypeListener, l)
}

func (s *streams) start() map[string]string { return startEnvoy(s.t, s.resources, startEcho(s.t)) }

// to routes to destinations of those names, "a" or "a=9" with a weight.
func to(names ...string) []model.WeightedDestination {
	var out []model.WeightedDestination
	for _, text := range names {
		d := model.WeightedDestination{Weight: 1}
		name, weight, ok := strings.Cut(text, "=")
		if ok {
			fmt.Sscan(weight, &d.Weight)
		}
		d.Destination.Host = name
		out = append(out, d)
	}
	return out
}

func tcpServer(p model.Protocol, rules ...model.TCPRule) gateway.StreamServer {
	return gateway.StreamServer{
		Server:   &model.Server{Protocol: p},
		Bindings: []gateway.StreamBinding{{Set: &model.RouteSet{TCP: rules}}},
	}
}

func sniServer(rules ...model.TLSRule) gateway.StreamServer {
	return gateway.StreamServer{
		Server:   &model.Server{Protocol: model.ProtocolTLS, Passthrough: true, Hosts: []model.ServerHost{{DNS: "*"}}},
		Bindings: []gateway.StreamBinding{{Set: &model.RouteSet{TLS: rules}}},
	}
}

func sniRule(field string, route []model.WeightedDestination, names ...string) model.TLSRule {
	return model.TLSRule{Field: field, Matches: []model.TLSMatch{{Field: field, SNI: names}}, Route: route}
}

// TestTCP sends connections through a real Envoy.
func TestTCP(t *testing.T) {
	second, short := time.Hour, 200*time.Millisecond
	s := newStreams(t)
	s.target("many", greeter(t, "many"), &model.StreamPolicy{IdleTimeout: &second, MaxConnectionDuration: &second})
	s.target("few", greeter(t, "few"), nil)
	s.target("office", greeter(t, "office"), nil)
	s.target("brief", greeter(t, "brief"), &model.StreamPolicy{IdleTimeout: &short})
	s.listen("127.0.0.1", 0, tcpServer(model.ProtocolTCP, model.TCPRule{Route: to("many=9", "few")}))
	s.listen("127.0.0.2", 0, tcpServer(model.ProtocolMySQL, model.TCPRule{Route: to("brief")}))
	s.listen("127.0.0.3", 0, tcpServer(model.ProtocolTCP,
		model.TCPRule{Field: "a", Matches: []model.TCPMatch{{Field: "a", SourceSubnet: "127.0.0.5/32"}}, Route: to("office")},
		model.TCPRule{Field: "b", Route: to("few")}))
	s.listen("127.0.0.4", 1, tcpServer(model.ProtocolRedis, model.TCPRule{Route: to("gone")}))
	limited := tcpServer(model.ProtocolTCP, model.TCPRule{Route: to("few")})
	limited.Server.MaxConnections = 1
	s.listen("127.0.0.5", 0, limited)
	open := s.start()

	t.Run("weights", func(t *testing.T) {
		got := map[string]int{}
		for range 200 {
			conn := dialFrom(t, "", open["127.0.0.1_0"])
			got[greeting(t, conn)]++
			conn.Close()
		}
		if got["few"] == 0 || got["many"] < 3*got["few"] || got["many"]+got["few"] != 200 {
			t.Errorf("%v of 200 connections at weights 9 and 1", got)
		}
	})
	t.Run("idle timeout", func(t *testing.T) {
		conn := dialFrom(t, "", open["127.0.0.2_0"])
		if all, err := io.ReadAll(conn); string(all) != "brief\n" || err != nil {
			t.Errorf("read %q, %v; want a greeting and a close", all, err)
		}
	})
	t.Run("source subnet", func(t *testing.T) {
		for from, want := range map[string]string{"127.0.0.5": "office", "127.0.0.6": "few"} {
			if got := greeting(t, dialFrom(t, from, open["127.0.0.3_0"])); got != want {
				t.Errorf("from %s: %q, want %q", from, got, want)
			}
		}
	})
	t.Run("missing destination", func(t *testing.T) {
		if got := greeting(t, dialFrom(t, "", open["127.0.0.4_0"])); got != "" {
			t.Errorf("reached %q", got)
		}
	})
	t.Run("connection limit", func(t *testing.T) {
		first := dialFrom(t, "", open["127.0.0.5_0"])
		if got := greeting(t, first); got != "few" {
			t.Fatalf("the first connection reached %q", got)
		}
		if got := greeting(t, dialFrom(t, "", open["127.0.0.5_0"])); got != "" {
			t.Errorf("a second connection reached %q", got)
		}
	})
}

// TestPassthrough asks TLS servers, which name themselves, by server name.
func TestPassthrough(t *testing.T) {
	s := newStreams(t)
	for _, name := range []string{"exact", "wild", "any", "shared"} {
		s.target(name, tlsServer(t, name), nil)
	}
	s.target("raw", serve(t, func(conn net.Conn) {
		if _, err := conn.Read(make([]byte, 100)); err == nil {
			fmt.Fprintln(conn, "raw")
		}
	}), nil)
	s.listen("127.0.0.1", 1,
		sniServer(
			sniRule("a", to("exact"), "a.foo.com"),
			sniRule("b", to("wild"), "*.foo.com"),
			model.TLSRule{Field: "c", Matches: []model.TLSMatch{{Field: "c", SNI: []string{"c.foo.com"}}}, Fault: &model.RuleFault{}},
			sniRule("d", to("gone"), "d.foo.com")),
		sniServer(sniRule("e", to("any"), "other.org")))
	s.listen("127.0.0.2", 0,
		sniServer(sniRule("a", to("exact"), "a.foo.com"), sniRule("b", to("any"), "*")),
		tcpServer(model.ProtocolTCP, model.TCPRule{Route: to("raw")}))
	s.listen("127.0.0.3", 0,
		sniServer(sniRule("a", to("exact"), "a.foo.com")),
		tcpServer(model.ProtocolTCP, model.TCPRule{Route: to("shared")}))
	open := s.start()

	for _, c := range []struct{ listener, sni, want string }{
		{"127.0.0.1_0", "a.foo.com", "exact"},
		{"127.0.0.1_0", "b.foo.com", "wild"},
		{"127.0.0.1_0", "x.y.foo.com", "wild"},
		{"127.0.0.1_0", "foo.com", ""},
		{"127.0.0.1_0", "c.foo.com", ""},
		{"127.0.0.1_0", "d.foo.com", ""},
		{"127.0.0.1_0", "other.org", "any"},
		{"127.0.0.1_0", "unknown.org", ""},
		{"127.0.0.1_0", "", ""},
		{"127.0.0.2_0", "a.foo.com", "exact"},
		{"127.0.0.2_0", "unknown.org", "any"},
		{"127.0.0.2_0", "", "any"},
		{"127.0.0.3_0", "a.foo.com", "exact"},
		{"127.0.0.3_0", "unknown.org", "shared"},
	} {
		if got := certified(t, open[c.listener], c.sni); got != c.want {
			t.Errorf("%s at %s: reached %q, want %q", c.sni, c.listener, got, c.want)
		}
	}
	for listener, want := range map[string]string{"127.0.0.1_0": "", "127.0.0.2_0": "raw"} {
		conn := dialFrom(t, "", open[listener])
		if _, err := io.WriteString(conn, "hello, this is not TLS"); err != nil {
			t.Fatal(err)
		}
		if got := greeting(t, conn); got != want {
			t.Errorf("plain text at %s reached %q, want %q", listener, got, want)
		}
	}
}

// TestPassthroughDynamic reaches a destination that the client names.
func TestPassthroughDynamic(t *testing.T) {
	s := newStreams(t)
	s.cache = &dfpcommonv3.DnsCacheConfig{
		Name: "names", DnsLookupFamily: clusterv3.Cluster_V4_ONLY, DnsRefreshRate: durationpb.New(time.Minute),
	}
	typed := packed(t, &dfpclusterv3.ClusterConfig{
		ClusterImplementationSpecifier: &dfpclusterv3.ClusterConfig_DnsCacheConfig{DnsCacheConfig: s.cache},
	})
	add(t, s.resources, model.TypeCluster, &clusterv3.Cluster{
		Name: "dynamic", ConnectTimeout: durationpb.New(5 * time.Second), LbPolicy: clusterv3.Cluster_CLUSTER_PROVIDED,
		ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.clusters.dynamic_forward_proxy", TypedConfig: typed,
		}},
	})
	port := uint32(netip.MustParseAddrPort(tlsServer(t, "resolved").String()).Port())
	d := model.Destination{Host: "*", Port: port}
	s.targets[d] = model.Target{Cluster: "dynamic", Dynamic: &model.DynamicTarget{Host: "*", Port: port}}
	s.listen("127.0.0.1", 0, sniServer(sniRule("a", []model.WeightedDestination{{Destination: d}}, "*")))
	if got := certified(t, s.start()["127.0.0.1_0"], "localhost"); got != "resolved" {
		t.Errorf("reached %q", got)
	}
}

// TestUDP sends datagrams there and back.
func TestUDP(t *testing.T) {
	echo, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2000)
		for {
			n, from, err := echo.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = echo.WriteTo(append([]byte("echo "), b[:n]...), from)
		}
	}()
	t.Cleanup(func() { echo.Close(); <-done })
	s := newStreams(t)
	s.target("echo-udp", echo.LocalAddr(), nil)
	s.listen("127.0.0.1", 1, tcpServer(model.ProtocolUDP, model.TCPRule{Route: to("echo-udp", "gone=0")}))
	conn, err := net.Dial("udp", s.start()["127.0.0.1_0"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	for range 3 {
		if _, err := io.WriteString(conn, "ping"); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		if n, err := conn.Read(b); err != nil || string(b[:n]) != "echo ping" {
			t.Fatalf("got back %q, %v", b[:n], err)
		}
	}
}

// TestTunnel reaches a target through a proxy, by CONNECT and by POST.
func TestTunnel(t *testing.T) {
	proxy := serve(t, func(conn net.Conn) {
		reader := bufio.NewReader(conn)
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		name := request.Method + " " + request.Host + "\n"
		if request.Method == http.MethodConnect {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n", name)
		} else {
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(name), name)
		}
		_, _ = io.Copy(io.Discard, reader)
	})
	s := newStreams(t)
	s.target("connect", proxy, &model.StreamPolicy{Tunnel: &model.Tunnel{TargetHost: "db.example.com", TargetPort: 5432}})
	s.target("post", proxy, &model.StreamPolicy{Tunnel: &model.Tunnel{TargetHost: "2001:db8::1", TargetPort: 1, Post: true}})
	s.listen("127.0.0.1", 0, tcpServer(model.ProtocolTCP, model.TCPRule{Route: to("connect")}))
	s.listen("127.0.0.2", 0, tcpServer(model.ProtocolTCP, model.TCPRule{Route: to("post")}))
	open := s.start()
	for listener, want := range map[string]string{
		"127.0.0.1_0": "CONNECT db.example.com:5432", "127.0.0.2_0": "POST [2001:db8::1]:1",
	} {
		if got := greeting(t, dialFrom(t, "", open[listener])); got != want {
			t.Errorf("the proxy saw %q, want %q", got, want)
		}
	}
}

// TestStreamProxyProtocol claims an address of an office: who is trusted reaches
// the office's destination, who is not reaches nothing.
func TestStreamProxyProtocol(t *testing.T) {
	answer := func(name string) net.Addr {
		return serve(t, func(conn net.Conn) {
			if _, err := conn.Read(make([]byte, 100)); err == nil {
				fmt.Fprintln(conn, name)
			}
		})
	}
	s := newStreams(t)
	s.target("office", answer("office"), nil)
	s.target("rest", answer("rest"), nil)
	server := tcpServer(model.ProtocolTCP,
		model.TCPRule{Field: "a", Matches: []model.TCPMatch{{Field: "a", SourceSubnet: "192.0.2.0/24"}}, Route: to("office")},
		model.TCPRule{Field: "b", Route: to("rest")})
	server.Server.ProxyProtocol = &model.ProxyProtocolIn{Trusted: []string{"127.0.0.5/32"}}
	s.listen("127.0.0.1", 0, server)
	address := s.start()["127.0.0.1_0"]
	claim := "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
	for _, c := range []struct{ from, header, want string }{
		{"127.0.0.5", claim, "office"},
		{"127.0.0.5", "", "rest"},
		{"127.0.0.6", claim, ""},
		{"127.0.0.6", "PROXY TCP4 9.9.9.9 192.0.2.2 1 2\r\n", ""},
		{"127.0.0.6", "PROXY UNKNOWN\r\n", "rest"},
		{"127.0.0.6", "", "rest"},
	} {
		conn := dialFrom(t, c.from, address)
		if _, err := io.WriteString(conn, c.header+"a long enough hello"); err != nil {
			t.Fatal(err)
		}
		if got := greeting(t, conn); got != c.want {
			t.Errorf("from %s with %q: reached %q, want %q", c.from, c.header, got, c.want)
		}
	}
}
