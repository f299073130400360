package gateway_test

import (
	"fmt"
	"slices"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
)

// tlsPort is the in.yaml of a golden case: one port where TLS ends. Servers are
// named by their place in the list, which must not be a copy of theirs.
type tlsPort struct {
	Bind     model.Bind
	Servers  []gateway.StreamServer
	TLS      []tlsHost
	OnDemand *struct {
		Server int
		Table  string
	}
	Challenged []string
	Tickets    bool
	Targets    []streamTarget
	// Show lists the parts that the case is about.
	Show []string
}

type tlsHost struct {
	Host         string
	Server       int
	Scopes       bool
	Certificates []string
	Authorities  string
}

func (in tlsPort) input() gateway.StreamInput {
	out := gateway.StreamInput{
		Bind: in.Bind, Settings: model.DefaultSettings(), Servers: in.Servers, Targets: map[model.Destination]model.Target{},
		Challenged: in.Challenged, Tickets: in.Tickets,
	}
	for _, target := range in.Targets {
		out.Targets[target.Destination] = target.Target
	}
	for _, h := range in.TLS {
		at := in.Servers[h.Server]
		out.TLS = append(out.TLS, gateway.TLSHost{
			Host: h.Host, Server: at.Server, Gateway: at.Gateway, Bindings: at.Bindings,
			Table:        model.Table{Bind: in.Bind, TLS: true, Policy: at.Server.TLS.Policy("")}.Name(),
			Scopes:       h.Scopes,
			Certificates: h.Certificates, Authorities: h.Authorities,
		})
	}
	if in.OnDemand != nil {
		out.OnDemand = &gateway.OnDemand{Server: in.Servers[in.OnDemand.Server].Server, Table: in.OnDemand.Table}
	}
	return out
}

// TestTLSGolden compares what such a port becomes with testdata/tls/*.txtar.
func TestTLSGolden(t *testing.T) {
	golden(t, "testdata/tls/*.txtar", func(t *testing.T, text []byte) []txtar.File {
		var in tlsPort
		if err := yaml.UnmarshalStrict(text, &in); err != nil {
			t.Fatal(err)
		}
		input := in.input()
		listener, problems := gateway.StreamListener(input)
		var files []txtar.File
		for _, part := range in.Show {
			var data []byte
			switch part {
			case "listener":
				data = shown(t, listener)
			case "chains":
				data = outline(t, listener)
			case "matcher":
				data = protoYAML(t, listener.GetFilterChainMatcher())
			case "contexts":
				for _, chain := range listener.GetFilterChains() {
					if chain.GetTransportSocket() != nil {
						data = fmt.Appendf(data, "--- # %s\n%s", chain.GetName(), protoYAML(t, chain.GetTransportSocket()))
					}
				}
			case "quic":
				data = shown(t, gateway.QUICListener(input))
			case "quic chains":
				data = outline(t, gateway.QUICListener(input))
			case "clusters":
				data = toYAML(t, gateway.StreamClusters(listener))
			case "needs":
				data = slices.Concat(toYAML(t, gateway.StreamNeeds(input)), []byte("--- # over QUIC\n"), toYAML(t, gateway.QUICNeeds(input)))
			case "problems":
				for _, p := range problems {
					data = fmt.Appendf(data, "%s %s %s %s: %s\n", p.Severity, p.Reason, p.Object, p.Field, p.Message)
				}
			default:
				t.Fatalf("there is no part %q", part)
			}
			files = append(files, txtar.File{Name: "want." + part + ".yaml", Data: data})
		}
		return files
	})
}

func shown(t *testing.T, l *listenerv3.Listener) []byte {
	t.Helper()
	validate(t, l)
	return protoYAML(t, l)
}

// outline is a line for each chain: its name, its condition, its filters.
func outline(t *testing.T, l *listenerv3.Listener) []byte {
	t.Helper()
	if l != nil {
		validate(t, l)
	}
	var out []byte
	for _, chain := range l.GetFilterChains() {
		m := chain.GetFilterChainMatch()
		out = fmt.Appendf(out, "%s:", chain.GetName())
		if m.GetTransportProtocol() != "" {
			out = fmt.Appendf(out, " %s", m.GetTransportProtocol())
		}
		out = fmt.Appendf(out, " %q %q", m.GetServerNames(), m.GetApplicationProtocols())
		for _, r := range m.GetSourcePrefixRanges() {
			out = fmt.Appendf(out, " from %s/%d", r.GetAddressPrefix(), r.GetPrefixLen().GetValue())
		}
		if chain.GetTransportSocket() != nil {
			out = append(out, " ends TLS"...)
		}
		for _, f := range chain.GetFilters() {
			out = fmt.Appendf(out, " > %s", f.GetName())
		}
		out = append(out, '\n')
	}
	return out
}

// many is a port with n hosts of two servers.
func many(n int) gateway.StreamInput {
	bind := model.Bind{Address: model.AnyAddress, Port: 443}
	in := gateway.StreamInput{Bind: bind, Settings: model.DefaultSettings(), Tickets: true}
	for _, mode := range []model.ServerTLSMode{model.ServerTLSSimple, model.ServerTLSMutual} {
		in.Servers = append(in.Servers, gateway.StreamServer{Server: &model.Server{
			Field: "spec.servers[0]", Protocol: model.ProtocolHTTPS, Bind: bind, TLS: &model.ServerTLS{Mode: mode},
		}})
	}
	for i := range n {
		host := fmt.Sprintf("host-%05d.example.com", i)
		server := in.Servers[i%2].Server
		h := gateway.TLSHost{
			Host: host, Server: server, Table: model.Table{Bind: bind, TLS: true, Policy: server.TLS.Policy("")}.Name(), Scopes: true,
			Certificates: []string{"secret/default/" + host},
		}
		if server.TLS.Mode != model.ServerTLSSimple {
			h.Authorities = "secret/default/clients/ca"
		}
		in.TLS = append(in.TLS, h)
		in.Challenged = append(in.Challenged, host)
	}
	return in
}

// BenchmarkTLSListener makes and encodes a listener with 2,000 hosts.
func BenchmarkTLSListener(b *testing.B) {
	for _, n := range []int{200, 2000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			in := many(n)
			b.ReportAllocs()
			for b.Loop() {
				l, problems := gateway.StreamListener(in)
				if len(l.GetFilterChains()) != n+1 || len(problems) > 0 {
					b.Fatal(len(l.GetFilterChains()), problems)
				}
				encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(l)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(encoded))/float64(n), "bytes/host")
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/host")
		})
	}
}

// TestTLSAllocations keeps the cost of a host from growing with their number, and
// with the size of the connection manager that they share.
func TestTLSAllocations(t *testing.T) {
	each := func(n int) float64 {
		in := many(n)
		return testing.AllocsPerRun(3, func() { gateway.StreamListener(in) }) / float64(n)
	}
	few, lots := each(100), each(2000)
	if lots > few || lots > 100 {
		t.Errorf("%.0f allocations for each of 2,000 hosts, %.0f for each of 100", lots, few)
	}
}

// TestTLSChainsAreStable adds a host, and removes the certificate of another: no
// other chain changes.
func TestTLSChainsAreStable(t *testing.T) {
	chains := func(in gateway.StreamInput) map[string]string {
		l, _ := gateway.StreamListener(in)
		out := map[string]string{}
		for _, chain := range l.GetFilterChains() {
			if out[chain.GetName()] != "" {
				t.Fatalf("two chains are named %s", chain.GetName())
			}
			out[chain.GetName()] = string(encoded(t, chain))
		}
		return out
	}
	in := many(10)
	in.Challenged = nil
	before := chains(in)
	in.TLS = slices.Insert(in.TLS, 3, in.TLS[5])
	in.TLS[3].Host = "another.example.com"
	in.TLS[4].Certificates = nil
	after := chains(in)
	if len(after) != 11 {
		t.Fatalf("%d chains", len(after))
	}
	for name, chain := range before {
		if changed := after[name] != chain; changed != (name == "tls/"+in.TLS[4].Host) {
			t.Errorf("chain %s changed: %v", name, changed)
		}
	}
}
