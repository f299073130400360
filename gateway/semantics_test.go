package gateway_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
)

// routeTo is a virtual host whose one route matches prefix and names itself in
// the response header x-vhost.
func routeTo(host, prefix string) *routev3.VirtualHost {
	return &routev3.VirtualHost{
		Name:    host,
		Domains: []string{host},
		Routes: []*routev3.Route{{
			Name:  "route",
			Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: prefix}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "echo"},
			}},
			ResponseHeadersToAdd: []*corev3.HeaderValueOption{{
				Header: &corev3.HeaderValue{Key: "x-vhost", Value: host},
			}},
		}},
	}
}

// hosts are the virtual hosts of the semantic cases. With star, "*" is among
// them.
func hosts(star bool) []*routev3.VirtualHost {
	secure := routeTo("secure.foo.com", "/")
	secure.RequireTls = routev3.VirtualHost_ALL
	unnamed := routeTo("unnamed.foo.com", "/")
	unnamed.Routes[0].Name = ""
	all := []*routev3.VirtualHost{
		routeTo("a.foo.com", "/"),
		routeTo("only.foo.com", "/only"),
		routeTo("*.foo.com", "/"),
		routeTo("*.deep.foo.com", "/"),
		routeTo("*.narrow.com", "/only"),
		routeTo("[::1]", "/"),
		routeTo("127.0.0.1", "/"),
		routeTo("localhost", "/"),
		secure, unnamed,
	}
	if star {
		all = append(all, routeTo("*", "/"))
	}
	return all
}

// world is one listener of the one Envoy that all cases share.
type world struct {
	bind   model.Bind
	scoped bool
	star   bool
	change func(*model.Settings)
}

func (w world) layout() string {
	if w.scoped {
		return "scoped"
	}
	return "plain"
}

// worldsWith returns both layouts, with and without "*", with changed settings;
// they listen on addresses of their own and on ports that the system picks.
func worldsWith(change func(*model.Settings)) []world {
	return []world{
		{model.Bind{Address: "127.0.0.1"}, false, false, change},
		{model.Bind{Address: "127.0.0.2"}, true, false, change},
		{model.Bind{Address: "127.0.0.3"}, false, true, change},
		{model.Bind{Address: "127.0.0.4"}, true, true, change},
	}
}

// resourcesOf returns everything that Envoy needs to serve worlds.
func resourcesOf(t *testing.T, worlds []world) map[model.ResourceName][]byte {
	t.Helper()
	var sites []site
	for _, w := range worlds {
		settings := model.DefaultSettings()
		if w.change != nil {
			w.change(&settings)
		}
		sites = append(sites, site{gateway.ListenerInput{Bind: w.bind, Settings: settings}, w.scoped, hosts(w.star)})
	}
	return resourcesOfSites(t, sites)
}

// site is one HTTP listener and its virtual hosts; its table is that of its bind.
type site struct {
	input  gateway.ListenerInput
	scoped bool
	hosts  []*routev3.VirtualHost
}

func resourcesOfSites(t *testing.T, sites []site) map[model.ResourceName][]byte {
	t.Helper()
	all := map[model.ResourceName][]byte{}
	var keys []string
	for _, s := range sites {
		in := s.input
		in.Table = model.Table{Bind: in.Bind}.Name()
		add(t, all, model.TypeListener, gateway.Listener(in))
		add(t, all, model.TypeExtension, gateway.TableLayout(in.Table, s.scoped))
		var encoded [][]byte
		for _, vh := range s.hosts {
			host := vh.GetDomains()[0]
			if s.scoped {
				add(t, all, model.TypeRoute, gateway.ScopedTable(in.Table, vh, 0))
				add(t, all, model.TypeScope, gateway.Scope(in.Table, host))
				if strings.HasPrefix(host, "*.") {
					keys = append(keys, model.ScopeName(in.Table, host))
				}
				continue
			}
			b, err := proto.Marshal(vh)
			if err != nil {
				t.Fatal(err)
			}
			encoded = append(encoded, b)
		}
		if !s.scoped {
			keys = append(keys, model.ScopeName(in.Table, model.PlainScope))
			add(t, all, model.TypeScope, gateway.TableScope(in.Table))
			all[model.ResourceName{Type: model.TypeRoute, Name: in.Table}] = gateway.PlainTable(in.Table, encoded, 0)
		}
	}
	add(t, all, model.TypeExtension, gateway.Fallback(keys))
	return all
}

// add puts m into all under its own name.
func add(t *testing.T, all map[model.ResourceName][]byte, kind model.ResourceType, m interface {
	proto.Message
	GetName() string
},
) {
	t.Helper()
	encoded, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	all[model.ResourceName{Type: kind, Name: m.GetName()}] = encoded
}

// reply is what a client got: the status, which virtual host answered, and the
// request as the destination saw it.
type reply struct {
	status int
	vhost  string
	header http.Header
	seen   seen
	client string // the client's IP address
}

// raw sends text as it stands and reads one response.
func raw(t *testing.T, address, text string) reply {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no response to %q: %v", text, err)
	}
	got := readReply(t, response)
	got.client, _, _ = net.SplitHostPort(conn.LocalAddr().String())
	return got
}

// h2c sends a request over HTTP/2 with prior knowledge.
func h2c(t *testing.T, address, authority, path string) reply {
	t.Helper()
	transport := &http.Transport{Protocols: &http.Protocols{}}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = authority
	request.Header.Set(model.HeaderScope, "spoofed/a.foo.com")
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	return readReply(t, response)
}

func readReply(t *testing.T, response *http.Response) reply {
	t.Helper()
	defer response.Body.Close()
	r := reply{status: response.StatusCode, vhost: response.Header.Get("X-Vhost"), header: response.Header}
	if r.status == http.StatusOK {
		if err := json.NewDecoder(response.Body).Decode(&r.seen); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// TestHosts asks both layouts for the same hosts, with and without "*", over
// HTTP/1.1 and HTTP/2, on one real Envoy.
func TestHosts(t *testing.T) {
	cases := []struct {
		name, host, path string
		vhost            string // without "*"; "" for 404
		withStar         string // where it differs
		h1Only           bool
	}{
		{name: "exact", host: "a.foo.com", vhost: "a.foo.com"},
		{name: "exact beats wildcard", host: "a.foo.com", path: "/any", vhost: "a.foo.com"},
		{name: "wildcard", host: "b.foo.com", vhost: "*.foo.com"},
		{name: "wildcard takes several labels", host: "x.y.foo.com", vhost: "*.foo.com"},
		{name: "longest suffix", host: "x.deep.foo.com", vhost: "*.deep.foo.com"},
		{name: "wildcard does not take its own suffix", host: "deep.foo.com", vhost: "*.foo.com"},
		{name: "wildcard needs a label", host: ".foo.com", withStar: "*"},
		{name: "parent of a wildcard", host: "foo.com", withStar: "*"},
		{name: "suffix without a dot", host: "xfoo.com", withStar: "*"},
		{name: "unknown", host: "other.org", withStar: "*"},
		{name: "exact without path", host: "only.foo.com", path: "/else"},
		{name: "exact without path, rewritten", host: "Only.Foo.com:8080", path: "/else"},
		{name: "exact with path, rewritten", host: "Only.Foo.com:8080", path: "/only", vhost: "only.foo.com"},
		{name: "wildcard without path", host: "x.narrow.com", path: "/else"},
		{name: "port", host: "a.foo.com:8080", vhost: "a.foo.com"},
		{name: "port of a wildcard", host: "b.foo.com:8080", vhost: "*.foo.com"},
		{name: "port of an unknown", host: "other.org:8080", withStar: "*"},
		{name: "empty port", host: "a.foo.com:", vhost: "a.foo.com"},
		{name: "upper case", host: "A.Foo.COM", vhost: "a.foo.com"},
		{name: "upper case of a wildcard", host: "B.Foo.COM", vhost: "*.foo.com"},
		{name: "trailing dot", host: "a.foo.com.", vhost: "a.foo.com"},
		{name: "trailing dot of a wildcard", host: "b.foo.com.", vhost: "*.foo.com"},
		{name: "trailing dot, longest suffix", host: "x.deep.foo.com.", vhost: "*.deep.foo.com"},
		{name: "trailing dot of an unknown", host: "other.org.", withStar: "*"},
		{name: "two trailing dots", host: "a.foo.com..", withStar: "*"},
		{name: "all of it", host: "A.Foo.com.:8080", vhost: "a.foo.com"},
		{name: "all of it, wildcard", host: "X.Deep.Foo.com.:8080", vhost: "*.deep.foo.com"},
		{name: "IPv6", host: "[::1]", vhost: "[::1]"},
		{name: "IPv6 with port", host: "[::1]:8080", vhost: "[::1]"},
		{name: "unknown IPv6 with port", host: "[::2]:8080", withStar: "*"},
		{name: "IPv4 with port", host: "127.0.0.1:8080", vhost: "127.0.0.1"},
		{name: "one label", host: "localhost:8080", vhost: "localhost"},
		{name: "route without a name", host: "Unnamed.foo.com", vhost: "unnamed.foo.com"},
		{name: "literal wildcard", host: "*.foo.com", vhost: "*.foo.com", h1Only: true},
		{name: "literal star", host: "*", withStar: "*", h1Only: true},
		{name: "empty", host: "", withStar: "*", h1Only: true},
	}
	worlds := worldsWith(nil)
	open := startEnvoy(t, resourcesOf(t, worlds), startEcho(t))
	for _, w := range worlds {
		address := open[model.ListenerName(w.bind)]
		for _, c := range cases {
			want := c.vhost
			if w.star && c.withStar != "" {
				want = c.withStar
			}
			path := c.path
			if path == "" {
				path = "/"
			}
			t.Run(fmt.Sprintf("%s/star=%v/%s", w.layout(), w.star, c.name), func(t *testing.T) {
				text := "GET " + path + " HTTP/1.1\r\nHost: " + c.host + "\r\n" + model.HeaderScope + ": spoofed/a.foo.com\r\n\r\n"
				checkHost(t, raw(t, address, text), want, c.host)
				if !c.h1Only {
					checkHost(t, h2c(t, address, c.host, path), want, c.host)
				}
			})
		}
	}
}

// checkHost demands that the virtual host want answered ("" for 404), and that
// the destination saw host as sent and nothing of the scope.
func checkHost(t *testing.T, got reply, want, host string) {
	t.Helper()
	if want == "" {
		if got.status != http.StatusNotFound || got.vhost != "" {
			t.Errorf("status %d from %q, want 404", got.status, got.vhost)
		}
		return
	}
	if got.status != http.StatusOK || got.vhost != want {
		t.Fatalf("status %d from %q, want 200 from %q", got.status, got.vhost, want)
	}
	if got.seen.Host != host {
		t.Errorf("the destination saw host %q, want %q", got.seen.Host, host)
	}
	if scope := got.seen.Header.Values(model.HeaderScope); len(scope) > 0 {
		t.Errorf("the destination saw the scope header %q", scope)
	}
}

// TestOddHosts asks both layouts for hosts that nobody should send. What they
// answer is Envoy's affair; that they answer alike is ours.
func TestOddHosts(t *testing.T) {
	worlds := worldsWith(nil)
	open := startEnvoy(t, resourcesOf(t, worlds), startEcho(t))
	for _, host := range []string{
		"a.foo.com:http", "a.foo.com:80:80", "a.foo.com:80.", "a.foo.com::", "a.foo.com/x", "a..foo.com", ".a.foo.com",
		"[::1", "::1", "[::1].", "[::1].:80", "[::1]80", "]", "]:80", ":", ":80", ".", "..", "-", "*.", "*.foo.com.", "*.*", "%", "%3a",
		"http.0/a.foo.com", "user@a.foo.com", "a.foo.com,b.foo.com", "a.foo.com\r\nHost: b.foo.com", "a.foo.com?x", "x/../a.foo.com", "\xff.foo.com",
	} {
		for i := range 2 {
			plain, scoped := worlds[2*i], worlds[2*i+1]
			text := "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
			a := raw(t, open[model.ListenerName(plain.bind)], text)
			b := raw(t, open[model.ListenerName(scoped.bind)], text)
			if a.status == http.StatusBadRequest && b.status == a.status {
				continue // whoever would have answered
			}
			if a.status != b.status || a.vhost != b.vhost || a.seen.Host != b.seen.Host {
				t.Errorf("host %q, star=%v: plain %d from %q (%q), scoped %d from %q (%q)",
					host, plain.star, a.status, a.vhost, a.seen.Host, b.status, b.vhost, b.seen.Host)
			}
		}
	}
}
