package gateway_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	preservecasev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
)

// extra is an HTTP listener in the plain layout, with one host for all.
func extra(address, cluster string, change func(*gateway.ListenerInput)) site {
	vh := routeTo("*", "/")
	vh.GetRoutes()[0].GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: cluster}
	in := gateway.ListenerInput{Bind: model.Bind{Address: address}, Settings: model.DefaultSettings()}
	change(&in)
	return site{in, false, []*routev3.VirtualHost{vh}}
}

// exchange sends text and returns the status of the answer; 0 if the connection
// was closed instead.
func exchange(t *testing.T, from, address, text string) (int, seen) {
	t.Helper()
	conn := dialFrom(t, from, address)
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if err != nil {
		return 0, seen{}
	}
	r := readReply(t, response)
	return r.status, r.seen
}

// TestProxyProtocol claims addresses in front of HTTP.
func TestProxyProtocol(t *testing.T) {
	open := startEnvoy(t, resourcesOfSites(t, []site{
		extra("127.0.0.1", "echo", func(in *gateway.ListenerInput) {
			in.ProxyProtocol = &model.ProxyProtocolIn{Trusted: []string{"127.0.0.5", "10.0.0.0/8"}}
		}),
		extra("127.0.0.2", "echo", func(in *gateway.ListenerInput) { in.ProxyProtocol = &model.ProxyProtocolIn{} }),
	}), startEcho(t))
	v1 := "PROXY TCP4 9.9.9.9 192.0.2.2 1 2\r\n"
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x09\x09\x09\x09\xc0\x00\x02\x02\x00\x01\x00\x02"
	own := "PROXY TCP4 127.0.0.6 192.0.2.2 1 2\r\n"
	for _, c := range []struct {
		name, from, listener, header string
		status                       int
		forwarded                    string // "" is the peer's own
	}{
		{"trusted, version 1", "127.0.0.5", "127.0.0.1_0", v1, 200, "9.9.9.9"},
		{"trusted, version 2", "127.0.0.5", "127.0.0.1_0", v2, 200, "9.9.9.9"},
		{"trusted, without", "127.0.0.5", "127.0.0.1_0", "", 200, ""},
		{"not trusted, version 1", "127.0.0.6", "127.0.0.1_0", v1, 0, ""},
		{"not trusted, version 2", "127.0.0.6", "127.0.0.1_0", v2, 0, ""},
		{"not trusted, its own address", "127.0.0.6", "127.0.0.1_0", own, 200, ""},
		{"not trusted, without", "127.0.0.6", "127.0.0.1_0", "", 200, ""},
		{"everybody, version 1", "127.0.0.6", "127.0.0.2_0", v1, 200, "9.9.9.9"},
		{"everybody, version 2", "127.0.0.6", "127.0.0.2_0", v2, 200, "9.9.9.9"},
		{"everybody, without", "127.0.0.6", "127.0.0.2_0", "", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, got := exchange(t, c.from, open[c.listener], c.header+"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if status != c.status {
				t.Fatalf("status %d, want %d", status, c.status)
			}
			forwarded := got.Header.Get("X-Forwarded-For")
			if c.forwarded != "" && forwarded != c.forwarded {
				t.Errorf("the destination saw X-Forwarded-For %q, want %q", forwarded, c.forwarded)
			}
			if c.forwarded == "" && strings.Contains(forwarded, "9.9.9.9") {
				t.Errorf("the destination saw the claim in X-Forwarded-For: %q", forwarded)
			}
		})
	}
}

// TestOwnConnectionLimit checks that a server's limit is stronger than that of
// the settings.
func TestOwnConnectionLimit(t *testing.T) {
	address := startEnvoy(t, resourcesOfSites(t, []site{
		extra("127.0.0.1", "echo", func(in *gateway.ListenerInput) { in.MaxConnections = 1 }),
	}), startEcho(t))["127.0.0.1_0"]
	first := hold(t, address)
	if first == nil {
		t.Fatal("the first connection was closed")
	}
	defer first.Close()
	if second := hold(t, address); second != nil {
		second.Close()
		t.Error("a second connection got an answer")
	}
}

// explicit speaks one protocol to destinations.
func explicit(config *upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig) *upstreamhttpv3.HttpProtocolOptions {
	return &upstreamhttpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: config},
	}
}

// http1 lets trailers through to destinations, and the case of header names if
// keepCase is set.
func http1(t *testing.T, keepCase bool) *upstreamhttpv3.HttpProtocolOptions {
	options := &corev3.Http1ProtocolOptions{EnableTrailers: true}
	if keepCase {
		options.HeaderKeyFormat = &corev3.Http1ProtocolOptions_HeaderKeyFormat{
			HeaderFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter{StatefulFormatter: &corev3.TypedExtensionConfig{
				Name: "preserve_case", TypedConfig: packed(t, &preservecasev3.PreserveCaseFormatterConfig{}),
			}},
		}
	}
	return explicit(&upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: options},
	})
}

// TestHTTP1AsIs checks that the case of header names and trailers pass in both
// directions, the case only when asked for.
func TestHTTP1AsIs(t *testing.T) {
	const body = "5\r\nhello\r\n0\r\n"
	requests := make(chan string, 1)
	destination := serve(t, func(conn net.Conn) {
		var text bytes.Buffer
		reader := bufio.NewReader(io.TeeReader(conn, &text))
		for !strings.HasSuffix(text.String(), "\r\n0\r\n\r\n") && !strings.Contains(text.String(), "railer: up\r\n\r\n") {
			if _, err := reader.ReadByte(); err != nil {
				return
			}
		}
		requests <- text.String()
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nX-ANSWER-Case: b\r\nConnection: close\r\nTrailer: x-trailer\r\nTransfer-Encoding: chunked\r\n\r\n"+body+"x-trailer: down\r\n\r\n")
	})
	resources := resourcesOfSites(t, []site{
		extra("127.0.0.1", "raw", func(in *gateway.ListenerInput) { in.Settings.KeepHeaderCase = true }),
		extra("127.0.0.2", "lower", func(*gateway.ListenerInput) {}),
	})
	add(t, resources, model.TypeCluster, clusterAt(t, "raw", destination, http1(t, true)))
	add(t, resources, model.TypeCluster, clusterAt(t, "lower", destination, http1(t, false)))
	open := startEnvoy(t, resources, startEcho(t))
	for listener, names := range map[string][2]string{
		"127.0.0.1_0": {"X-rEQUEST-Case: a\r\n", "X-ANSWER-Case: b\r\n"},
		"127.0.0.2_0": {"x-request-case: a\r\n", "x-answer-case: b\r\n"},
	} {
		conn := dialFrom(t, "", open[listener])
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: a\r\nX-rEQUEST-Case: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"+body+"x-trailer: up\r\n\r\n")
		answer, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		request := "nothing"
		select {
		case request = <-requests:
		default:
		}
		if !strings.Contains(request, names[0]) || !strings.Contains(request, "x-trailer: up\r\n") {
			t.Errorf("%s: the destination read %q", listener, request)
		}
		if !strings.Contains(string(answer), names[1]) || !strings.Contains(string(answer), "x-trailer: down\r\n") {
			t.Errorf("%s: the client read %q", listener, answer)
		}
	}
}

// TestGRPCWeb calls a gRPC server over HTTP/1.1.
func TestGRPCWeb(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	frame := func(payload string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(payload))), payload...)
	}
	backend := &http.Server{Protocols: &http.Protocols{}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write(frame(fmt.Sprintf("%s %s %s", r.Proto, r.Header.Get("Content-Type"), body[5:])))
		w.Header().Set("Grpc-Status", "0")
	})}
	backend.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error, 1)
	go func() { served <- backend.Serve(listener) }()
	t.Cleanup(func() { backend.Close(); <-served })
	resources := resourcesOfSites(t, []site{
		extra("127.0.0.1", "grpc", func(in *gateway.ListenerInput) { in.GRPCWeb = true }),
	})
	add(t, resources, model.TypeCluster, clusterAt(t, "grpc", listener.Addr(), explicit(&upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
	})))
	address := startEnvoy(t, resources, startEcho(t))["127.0.0.1_0"]
	response, err := http.Post("http://"+address+"/a.Service/Call", "application/grpc-web+proto", bytes.NewReader(frame("ping")))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	want := frame("HTTP/2.0 application/grpc ping")
	trailers, ok := bytes.CutPrefix(body, want)
	if !ok || len(trailers) < 5 || trailers[0] != 0x80 || !strings.Contains(string(trailers), "grpc-status:0") {
		t.Errorf("the client read %q, want %q and a frame of trailers", body, want)
	}
}

// TestServerSentEvents reads an event while the answer goes on.
func TestServerSentEvents(t *testing.T) {
	more := make(chan struct{})
	destination := serve(t, func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
			return
		}
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: 1\n\n")
		<-more
		fmt.Fprint(conn, "data: 2\n\n")
	})
	resources := resourcesOfSites(t, []site{extra("127.0.0.1", "events", func(*gateway.ListenerInput) {})})
	add(t, resources, model.TypeCluster, clusterAt(t, "events", destination, nil))
	client := &http.Client{Timeout: patience}
	response, err := client.Get("http://" + startEnvoy(t, resources, startEcho(t))["127.0.0.1_0"])
	if err != nil {
		close(more)
		t.Fatal(err)
	}
	defer response.Body.Close()
	reader := bufio.NewReader(response.Body)
	line, err := reader.ReadString('\n')
	close(more)
	if err != nil || line != "data: 1\n" {
		t.Errorf("the first event: %q, %v", line, err)
	}
	if rest, err := io.ReadAll(reader); err != nil || string(rest) != "\ndata: 2\n\n" {
		t.Errorf("the second event: %q, %v", rest, err)
	}
}

// TestSteeredFilters checks that a route's own config makes the filters work that
// idle in every chain, on the exact path and through the fallback.
func TestSteeredFilters(t *testing.T) {
	steer := func(vh *routev3.VirtualHost, name string, config proto.Message) *routev3.VirtualHost {
		vh.GetRoutes()[0].TypedPerFilterConfig = map[string]*anypb.Any{name: packed(t, config)}
		return vh
	}
	var sites []site
	for i, scoped := range []bool{false, true} {
		sites = append(sites, site{
			gateway.ListenerInput{Bind: model.Bind{Address: fmt.Sprintf("127.0.0.%d", i+1)}, Settings: model.DefaultSettings()},
			scoped,
			[]*routev3.VirtualHost{
				steer(routeTo("abort.foo.com", "/"), model.FilterFault, &faultv3.HTTPFault{Abort: &faultv3.FaultAbort{
					ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: http.StatusTeapot},
					Percentage: &typev3.FractionalPercent{Numerator: 100},
				}}),
				steer(routeTo("*.cors.com", "/"), model.FilterCORS, &corsv3.CorsPolicy{
					AllowOriginStringMatch: []*matcherv3.StringMatcher{{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "https://shop.com"}}},
					AllowMethods:           "PUT",
				}),
				routeTo("idle.foo.com", "/"),
			},
		})
	}
	open := startEnvoy(t, resourcesOfSites(t, sites), startEcho(t))
	preflight := "Origin: https://%s\r\nAccess-Control-Request-Method: PUT\r\n"
	for _, listener := range []string{"127.0.0.1_0", "127.0.0.2_0"} {
		for _, c := range []struct {
			host, header string
			status       int
			allowed      string
			reached      bool
		}{
			{"abort.foo.com", "", http.StatusTeapot, "", false},
			{"Abort.foo.com:8080", "", http.StatusTeapot, "", false},
			{"x.cors.com", fmt.Sprintf(preflight, "shop.com"), http.StatusOK, "https://shop.com", false},
			{"X.cors.com.", fmt.Sprintf(preflight, "shop.com"), http.StatusOK, "https://shop.com", false},
			{"x.cors.com", fmt.Sprintf(preflight, "evil.com"), http.StatusOK, "", true},
			{"idle.foo.com", fmt.Sprintf(preflight, "shop.com"), http.StatusOK, "", true},
		} {
			conn := dialFrom(t, "", open[listener])
			fmt.Fprint(conn, "OPTIONS / HTTP/1.1\r\nHost: "+c.host+"\r\n"+c.header+"\r\n")
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			reached := response.Header.Get("Server") == "echo/1"
			allowed := response.Header.Get("Access-Control-Allow-Origin")
			if response.StatusCode != c.status || allowed != c.allowed || reached != c.reached {
				t.Errorf("%s %q at %s: status %d, allowed %q, destination reached %v", c.host, c.header, listener, response.StatusCode, allowed, reached)
			}
			response.Body.Close()
		}
	}
}

// TestDefaultsCutNoStream checks that what could end a silent stream is off.
func TestDefaultsCutNoStream(t *testing.T) {
	var off time.Duration
	if s := model.DefaultSettings(); s.StreamIdleTimeout != off || s.RequestTimeout != off {
		t.Errorf("stream idle timeout %v, request timeout %v", s.StreamIdleTimeout, s.RequestTimeout)
	}
}
