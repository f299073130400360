package istio

import (
	"net/netip"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/annotation"
	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// gateway gives a Gateway its meaning. Servers with a fault in their port, bind
// or tls, and servers without a usable host, are left out.
func (r reader) gateway(in *networking.Gateway) model.Value {
	spec := strict.Root("spec")
	g := &model.Gateway{Meta: r.Meta, Selector: in.GetSelector()}
	servers := spec.Field("servers")
	if len(in.GetServers()) == 0 && !r.Any(servers) {
		r.Fail(servers, strict.Missing("servers is empty; add at least one server"))
	}
	if r.Any(spec.Field("selector")) {
		return g // with part of the selector it would open ports on more proxies
	}
	options := r.serverOptions()
	portNames := map[string]bool{}
	for i, s := range in.GetServers() {
		at := servers.Element(i)
		server, ok := r.server(at, s, options)
		if !ok {
			continue
		}
		if server.PortName != "" && portNames[server.PortName] {
			r.Warn(at.Field("port").Field("name"), strict.Invalid("another server has the port name %s; choose one of its own",
				strict.Quote(server.PortName)))
		}
		portNames[server.PortName] = true
		g.Servers = append(g.Servers, server)
	}
	return g
}

// serverOptions is what is beyond the API: what a gateway's annotations say of
// each of its servers.
type serverOptions struct {
	proxies     *model.ProxyProtocolIn // from whom the PROXY protocol is taken
	connections uint32                 // the bound of open connections
	issuance    annotation.Issuance    // of certificates that are not named
	allowed     []string               // names for which they may be ordered on demand
	layout      model.ChainLayout
	http3       bool
}

func (r reader) serverOptions() serverOptions {
	var o serverOptions
	for name, read := range map[string]func(text string) []string{
		annotation.ProxyProtocol: func(text string) (faults []string) {
			o.proxies, faults = annotation.ParseProxyProtocol(text)
			return faults
		},
		annotation.MaxConnections: func(text string) (faults []string) {
			o.connections, faults = single(annotation.ParseMaxConnections(text))
			return faults
		},
		annotation.TLS: func(text string) (faults []string) {
			o.issuance, faults = single(annotation.ParseTLS(text))
			return faults
		},
		annotation.TLSAllow: func(text string) (faults []string) {
			o.allowed, faults = annotation.ParseTLSAllow(text)
			return faults
		},
		annotation.TLSLayout: func(text string) (faults []string) {
			o.layout, faults = single(annotation.ParseTLSLayout(text))
			return faults
		},
		annotation.HTTP3: func(text string) (faults []string) {
			o.http3, faults = single(annotation.ParseHTTP3(text))
			return faults
		},
	} {
		if text, given := r.Meta.Annotations[name]; given {
			for _, fault := range read(text) {
				r.Note(annotationPath(name), strict.Invalid("%s", fault))
			}
		}
	}
	if o.allowed != nil && o.issuance != annotation.IssuanceOnDemand {
		r.Note(annotationPath(annotation.TLSAllow), strict.Invalid("it has no effect without the annotation %s: %s", annotation.TLS, annotation.IssuanceOnDemand))
	}
	return o
}

// single returns a value with its fault as a list, which is empty for none.
func single[T any](value T, fault string) (T, []string) {
	if fault == "" {
		return value, nil
	}
	return value, []string{fault}
}

func (r reader) server(at *strict.Path, in *networking.Server, o serverOptions) (model.Server, bool) {
	if r.At(at) {
		return model.Server{}, false
	}
	s := model.Server{
		Field:          at.String(),
		Name:           in.GetName(),
		PortName:       in.GetPort().GetName(),
		MaxConnections: o.connections,
	}
	s.Protocol = r.serverPort(at.Field("port"), in.GetPort())
	s.Bind = model.Bind{Address: r.bind(at.Field("bind"), in.GetBind()), Port: in.GetPort().GetNumber()}
	tls := at.Field("tls")
	switch {
	case s.Protocol.IsHTTP():
		r.plainTLS(tls, in.GetTls())
		s.HTTPSRedirect = in.GetTls().GetHttpsRedirect()
	case s.Protocol == model.ProtocolHTTPS || s.Protocol == model.ProtocolTLS:
		s.Passthrough = in.GetTls().GetMode() == networking.ServerTLSSettings_PASSTHROUGH
		s.TLS = serverTLS{r, o, s.Protocol}.read(tls, in.GetTls())
	case in.GetTls() != nil && !r.Any(tls):
		r.Fail(tls, strict.Invalid("a server of protocol %s takes no tls block; the server is left out until it is removed, or the protocol is TLS", s.Protocol))
	}
	if s.Protocol != model.ProtocolUDP {
		s.ProxyProtocol = o.proxies
	}
	s.Hosts = r.serverHosts(at.Field("hosts"), in.GetHosts())
	usable := s.Protocol != "" && len(s.Hosts) > 0 &&
		r.Broken(at.Field("port")) == "" && !r.Any(at.Field("bind")) && !r.Any(tls)
	return s, usable
}

// serverPort checks the port of a server and returns its protocol, "" if that
// is not known.
func (r reader) serverPort(at *strict.Path, in *networking.Port) model.Protocol {
	if r.At(at) {
		return ""
	}
	if in == nil {
		r.Fail(at, strict.Missing("port is missing; add number, name and protocol"))
		return ""
	}
	if number := at.Field("number"); !r.At(number) {
		r.Fail(number, check.Port(in.GetNumber()))
	}
	if name := at.Field("name"); in.GetName() == "" && !r.At(name) {
		r.Warn(name, strict.Missing("the port has no name; give it one that no other server of this gateway has"))
	}
	protocol := at.Field("protocol")
	if r.At(protocol) {
		return ""
	}
	p, known := check.ParseProtocol(in.GetProtocol())
	switch {
	case in.GetProtocol() == "":
		r.Fail(protocol, strict.Missing("protocol is missing; write %s", check.ProtocolWords))
	case !known:
		r.Fail(protocol, strict.Invalid("%s is no protocol; write %s", strict.Quote(in.GetProtocol()), check.ProtocolWords))
	case p == model.ProtocolUDP:
		r.Warn(protocol, &strict.Finding{Reason: model.ReasonExtension, Message: "servers of protocol UDP are served, but are no part of Istio's API; elsewhere this server may be refused"})
	}
	return p
}

func (r reader) bind(at *strict.Path, bind string) string {
	if bind == "" || r.At(at) {
		return model.AnyAddress
	}
	if strings.HasPrefix(bind, "unix:") || strings.HasPrefix(bind, "/") || strings.HasPrefix(bind, "@") {
		r.Fail(at, strict.NotYet("unix sockets are not supported yet and the server is left out; write an IP address"))
		return ""
	}
	address, err := netip.ParseAddr(bind)
	if err != nil || address.Zone() != "" {
		r.Fail(at, strict.Invalid("%s is no IP address; write one or remove bind to listen on all", strict.Quote(bind)))
		return ""
	}
	return address.Unmap().String()
}

// plainTLS checks the tls block of a server that speaks plain HTTP.
func (r reader) plainTLS(at *strict.Path, in *networking.ServerTLSSettings) {
	if in == nil || r.Any(at) {
		return
	}
	others := proto.CloneOf(in)
	others.HttpsRedirect = false
	r.withoutEffect(at, others, "a server of a plain HTTP protocol ends no TLS and the field has no effect; write protocol HTTPS, or remove it")
}

// withoutEffect reports every field that is given in a block, but the words for
// defaults.
func (r reader) withoutEffect(at *strict.Path, in *networking.ServerTLSSettings, message string) {
	in.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		r.Note(at.Field(fd.JSONName()), strict.Invalid("%s", message))
		return true
	})
}

// serverHosts reads the hosts of a server: "dns", "namespace/dns", "./dns" for
// the gateway's own namespace, "*/dns" for any.
func (r reader) serverHosts(at *strict.Path, hosts []string) []model.ServerHost {
	if len(hosts) == 0 && !r.At(at) {
		r.Fail(at, strict.Missing("hosts is empty; add a host, or %q for all", "*"))
		return nil
	}
	var out []model.ServerHost
	for _, host := range r.Names(at, hosts, func(host string) (string, *strict.Finding) {
		return parseServerHost(host, r.Meta.Ref.Namespace)
	}) {
		namespace, dns, _ := strings.Cut(host, "/")
		out = append(out, model.ServerHost{Namespace: namespace, DNS: dns})
	}
	return out
}

// parseServerHost returns "namespace/dns", the namespace empty for any.
func parseServerHost(host, own string) (string, *strict.Finding) {
	namespace, dns, both := strings.Cut(host, "/")
	switch {
	case !both:
		namespace, dns = "", host
	case namespace == "*":
		namespace = ""
	case namespace == ".":
		namespace = own
	case !check.IsLabel(namespace):
		return "", strict.Invalid(`%s names no namespace before the slash; write a name, "." for the gateway's own or "*" for any`, strict.Quote(host))
	}
	name, wrong := check.ParseName(dns, check.Form{Wildcard: true, IP: true})
	return namespace + "/" + name, wrong
}
