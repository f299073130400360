package xds

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerpb "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routepb "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	sni "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/cert_mappers/sni/v3"
	selector "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/cert_selectors/on_demand_secret/v3"
	tlspb "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluicegw/sluice/model"
)

// waits is how long a handshake may wait for its certificate.
const waits = time.Second

// onDemandListener ends TLS with certificates that it asks for by server name.
func onDemandListener(t *testing.T, port uint32) *model.Resource {
	t.Helper()
	socket := &tlspb.DownstreamTlsContext{
		SessionTicketKeysType:            &tlspb.DownstreamTlsContext_DisableStatelessSessionResumption{DisableStatelessSessionResumption: true},
		DisableStatefulSessionResumption: true,
		CommonTlsContext: &tlspb.CommonTlsContext{CustomTlsCertificateSelector: extension(t, "envoy.tls.certificate_selectors.on_demand_secret", &selector.Config{
			ConfigSource:      ads(),
			CertificateMapper: extension(t, "envoy.tls.certificate_mappers.sni", &sni.SNI{DefaultValue: model.OnDemandNoName}),
		})},
	}
	manager := &hcm.HttpConnectionManager{
		StatPrefix: "tls", RouteSpecifier: &hcm.HttpConnectionManager_RouteConfig{RouteConfig: &routepb.RouteConfiguration{Name: "none"}},
		HttpFilters: []*hcm.HttpFilter{{Name: "router", ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: pack(t, &router.Router{})}}},
	}
	return packed(t, named(model.TypeListener, "tls"), &listenerpb.Listener{
		Name: "tls", Address: address(port),
		FilterChains: []*listenerpb.FilterChain{{
			TransportSocketConnectTimeout: durationpb.New(waits),
			TransportSocket: &core.TransportSocket{
				Name: "tls", ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: pack(t, socket)},
			},
			Filters: []*listenerpb.Filter{{Name: "hcm", ConfigType: &listenerpb.Filter_TypedConfig{TypedConfig: pack(t, manager)}}},
		}},
	})
}

func extension(t *testing.T, name string, config proto.Message) *core.TypedExtensionConfig {
	t.Helper()
	return &core.TypedExtensionConfig{Name: name, TypedConfig: pack(t, config)}
}

// realSecret is a certificate of a host whose subject is mark.
func realSecret(t *testing.T, host, mark string) *model.Resource {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: mark}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	inline := func(kind string, der []byte) *core.DataSource {
		return &core.DataSource{Specifier: &core.DataSource_InlineBytes{InlineBytes: pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})}}
	}
	return packed(t, secretName(host), &tlspb.Secret{Name: host, Type: &tlspb.Secret_TlsCertificate{TlsCertificate: &tlspb.TlsCertificate{
		CertificateChain: inline("CERTIFICATE", der), PrivateKey: inline("PRIVATE KEY", private),
	}}})
}

// shake returns the subject of the certificate that a handshake gets.
func shake(port uint32, name string) (string, error) {
	dialer := &net.Dialer{Timeout: patience}
	c, err := stdtls.DialWithDialer(dialer, "tcp", fmt.Sprintf("127.0.0.1:%d", port), &stdtls.Config{
		ServerName: name, InsecureSkipVerify: true,
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

// untilSubscribed waits until the stream of the proxy asks for n names.
func (r *rig) untilSubscribed(n int) {
	r.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		r.store.mu.Lock()
		count := 0
		for v := range r.store.views {
			count += len(v.asked.origins)
		}
		r.store.mu.Unlock()
		if count == n {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%d names are asked for, want %d", count, n)
		}
	}
}

func TestEnvoyAsksForCertificatesByServerName(t *testing.T) {
	r := newRig(t, Options{})
	port := freePort(t)
	runEnvoy(t, r)
	r.untilAcked(r.publish(onDemandListener(t, port), realSecret(t, "*.example.com", "wildcard"), realSecret(t, "a.example.com", "exact")))
	want := func(name, subject string) {
		t.Helper()
		if got, err := shake(port, name); err != nil || got != subject {
			t.Errorf("%q gets the certificate of %q, %v; want %q", name, got, err, subject)
		}
	}
	refused := func(name string) {
		t.Helper()
		if got, err := shake(port, name); err == nil || !strings.Contains(err.Error(), "handshake failure") {
			t.Errorf("%q gets the certificate of %q, %v; want to be refused", name, got, err)
		}
	}
	want("a.example.com", "exact")
	want("b.example.com", "wildcard")
	want("C.b.Example.com", "wildcard")
	r.untilSubscribed(3)
	refused("unknown.org")
	refused("")
	refused("x/y")
	refused(strings.Repeat("a.", 121) + "example.org")
	r.untilSubscribed(3)
	want("b.example.com", "wildcard")

	r.untilAcked(r.publish(realSecret(t, "*.example.com", "rotated"), realSecret(t, "unknown.org", "late"), realSecret(t, "*", "any")))
	want("b.example.com", "rotated")
	want("unknown.org", "late")
	want("", "any")
	connected := r.store.Proxies()[0].Since
	if got, err := shake(port, "\xff.example.com"); err == nil {
		t.Errorf("a name that is no text gets the certificate of %q", got)
	}
	r.untilAcked(r.publish(secretName("a.example.com"), realSecret(t, "b.example.com", "own")))
	want("a.example.com", "rotated")
	want("b.example.com", "own")
	r.untilAcked(r.publish(secretName("*"), secretName("*.example.com")))
	refused("a.example.com")
	refused("")
	want("b.example.com", "own")
	if p := r.store.Proxies()[0]; p.Since != connected || len(p.Rejections) > 0 {
		t.Errorf("proxy %+v", p)
	}
}
