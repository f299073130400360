package istio

import (
	"net/netip"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/model"
)

// gateway gives a Gateway its meaning. Servers with a fault in their port, bind
// or tls, and servers without a usable host, are left out.
func (r *reader) gateway(in *networking.Gateway) model.Value {
	spec := root("spec")
	g := &model.Gateway{Meta: r.meta, Selector: in.GetSelector()}
	servers := spec.field("servers")
	if len(in.GetServers()) == 0 && !r.any(servers) {
		r.fail(servers, missing("servers is empty; add at least one server"))
	}
	if r.any(spec.field("selector")) {
		return g // with part of the selector it would open ports on more proxies
	}
	portNames := map[string]bool{}
	for i, s := range in.GetServers() {
		at := servers.element(i)
		server, ok := r.server(at, s)
		if !ok {
			continue
		}
		if server.PortName != "" && portNames[server.PortName] {
			r.warn(at.field("port").field("name"), invalid("another server has the port name %s; choose one of its own",
				quote(server.PortName)))
		}
		portNames[server.PortName] = true
		g.Servers = append(g.Servers, server)
	}
	return g
}

func (r *reader) server(at *path, in *networking.Server) (model.Server, bool) {
	if r.at(at) {
		return model.Server{}, false
	}
	s := model.Server{
		Field:         at.String(),
		Name:          in.GetName(),
		PortName:      in.GetPort().GetName(),
		HTTPSRedirect: in.GetTls().GetHttpsRedirect(),
	}
	s.Protocol = r.serverPort(at.field("port"), in.GetPort())
	s.Bind = model.Bind{Address: r.bind(at.field("bind"), in.GetBind()), Port: in.GetPort().GetNumber()}
	if s.Protocol.IsHTTP() {
		r.plainTLS(at.field("tls"), in.GetTls())
	}
	s.Hosts = r.serverHosts(at.field("hosts"), in.GetHosts())
	usable := s.Protocol.IsHTTP() && len(s.Hosts) > 0 &&
		r.broken(at.field("port")) == "" && !r.any(at.field("bind")) && !r.any(at.field("tls"))
	return s, usable
}

// serverPort checks the port of a server and returns its protocol, "" if that
// is not known.
func (r *reader) serverPort(at *path, in *networking.Port) model.Protocol {
	if r.at(at) {
		return ""
	}
	if in == nil {
		r.fail(at, missing("port is missing; add number, name and protocol"))
		return ""
	}
	if number := at.field("number"); !r.at(number) {
		r.fail(number, checkPort(in.GetNumber()))
	}
	if name := at.field("name"); in.GetName() == "" && !r.at(name) {
		r.warn(name, missing("the port has no name; give it one that no other server of this gateway has"))
	}
	protocol := at.field("protocol")
	if r.at(protocol) {
		return ""
	}
	p, known := parseProtocol(in.GetProtocol())
	switch {
	case in.GetProtocol() == "":
		r.fail(protocol, missing("protocol is missing; write HTTP, HTTP2, GRPC or GRPC-WEB"))
	case !known:
		r.fail(protocol, invalid("%s is no protocol; write %s", quote(in.GetProtocol()), protocolWords))
	case !p.IsHTTP():
		r.fail(protocol, notYet("servers of protocol %s are not supported yet and this one is left out; HTTP, HTTP2, GRPC and GRPC-WEB are", in.GetProtocol()))
	}
	return p
}

func (r *reader) bind(at *path, bind string) string {
	if bind == "" || r.at(at) {
		return model.AnyAddress
	}
	if strings.HasPrefix(bind, "unix:") || strings.HasPrefix(bind, "/") || strings.HasPrefix(bind, "@") {
		r.fail(at, notYet("unix sockets are not supported yet and the server is left out; write an IP address"))
		return ""
	}
	address, err := netip.ParseAddr(bind)
	if err != nil || address.Zone() != "" {
		r.fail(at, invalid("%s is no IP address; write one or remove bind to listen on all", quote(bind)))
		return ""
	}
	return address.Unmap().String()
}

// plainTLS checks the tls block of a server that speaks plain HTTP.
func (r *reader) plainTLS(at *path, in *networking.ServerTLSSettings) {
	if in == nil || r.any(at) {
		return
	}
	if !proto.Equal(in, &networking.ServerTLSSettings{HttpsRedirect: in.GetHttpsRedirect()}) {
		r.fail(at, invalid("a server of a plain HTTP protocol may only say httpsRedirect here; the server is left out until the other fields are removed"))
	}
}

// serverHosts reads the hosts of a server: "dns", "namespace/dns", "./dns" for
// the gateway's own namespace, "*/dns" for any.
func (r *reader) serverHosts(at *path, hosts []string) []model.ServerHost {
	if len(hosts) == 0 && !r.at(at) {
		r.fail(at, missing("hosts is empty; add a host, or %q for all", "*"))
		return nil
	}
	var out []model.ServerHost
	for _, host := range r.names(at, hosts, func(host string) (string, *finding) {
		return parseServerHost(host, r.meta.Ref.Namespace)
	}) {
		namespace, dns, _ := strings.Cut(host, "/")
		out = append(out, model.ServerHost{Namespace: namespace, DNS: dns})
	}
	return out
}

// parseServerHost returns "namespace/dns", the namespace empty for any.
func parseServerHost(host, own string) (string, *finding) {
	namespace, dns, both := strings.Cut(host, "/")
	switch {
	case !both:
		namespace, dns = "", host
	case namespace == "*":
		namespace = ""
	case namespace == ".":
		namespace = own
	case !isLabel(namespace):
		return "", invalid(`%s names no namespace before the slash; write a name, "." for the gateway's own or "*" for any`, quote(host))
	}
	name, wrong := parseName(dns, nameForm{wildcard: true, ip: true})
	return namespace + "/" + name, wrong
}
