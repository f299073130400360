// Package dnstest is an authoritative name server for tests. What goes in are
// zones and, by RFC 2136, records; what comes out are answers by UDP and TCP on
// one port of 127.0.0.1. Every host has the address 127.0.0.1.
package dnstest

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// The TSIG key that updates must be signed with.
const (
	Key    = "sluice-test."
	Secret = "c2x1aWNlLXRlc3Qtc2VjcmV0LXNsdWljZS10ZXN0ISE="
)

// Server is a running name server.
type Server struct {
	Address string // host:port
	zones   []string
	mu      sync.Mutex
	txt     map[string][]string // values by lower-case name
	updates int
}

// Start serves zones like "example.com." until the test ends.
func Start(t testing.TB, zones ...string) *Server {
	t.Helper()
	s := &Server{zones: zones, txt: map[string][]string{}}
	listener, packets := listen(t)
	s.Address = listener.Addr().String()
	for _, server := range []*dns.Server{{Listener: listener}, {PacketConn: packets}} {
		server.Handler = s
		server.TsigSecret = map[string]string{Key: Secret}
		server.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept } // updates too
		started, done := make(chan struct{}), make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() {
			defer close(done)
			_ = server.ActivateAndServe()
		}()
		<-started
		t.Cleanup(func() {
			_ = server.Shutdown()
			<-done
		})
	}
	return s
}

// listen opens a port for both TCP and UDP.
func listen(t testing.TB) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 20 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", listener.Addr().String())
		if err == nil {
			return listener, packets
		}
		_ = listener.Close()
	}
	t.Fatal("no port is free for both TCP and UDP")
	return nil, nil
}

// TXT returns the values at a name.
func (s *Server) TXT(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.txt[strings.ToLower(dns.Fqdn(name))])
}

// Set adds a TXT value, or removes it.
func (s *Server) Set(name, value string, present bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = strings.ToLower(dns.Fqdn(name))
	s.txt[name] = slices.DeleteFunc(s.txt[name], func(v string) bool { return v == value })
	if present {
		s.txt[name] = append(s.txt[name], value)
	}
}

// Updates counts the updates that were taken.
func (s *Server) Updates() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updates
}

// ServeDNS answers one message.
func (s *Server) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	answer := new(dns.Msg).SetReply(request)
	answer.Authoritative = true
	if sig := request.IsTsig(); sig != nil && w.TsigStatus() == nil {
		answer.SetTsig(sig.Hdr.Name, sig.Algorithm, sig.Fudge, int64(sig.TimeSigned))
	}
	switch {
	case len(request.Question) != 1:
		answer.Rcode = dns.RcodeFormatError
	case request.Opcode == dns.OpcodeUpdate:
		answer.Rcode = s.update(w, request)
	default:
		answer.Answer = s.answer(request.Question[0])
	}
	_ = w.WriteMsg(answer)
}

func (s *Server) update(w dns.ResponseWriter, request *dns.Msg) int {
	if request.IsTsig() == nil || w.TsigStatus() != nil {
		return dns.RcodeNotAuth
	}
	zone := strings.ToLower(request.Question[0].Name)
	if !slices.Contains(s.zones, zone) {
		return dns.RcodeNotZone
	}
	for _, rr := range request.Ns {
		txt, ok := rr.(*dns.TXT)
		if !ok {
			return dns.RcodeNotImplemented
		}
		if !dns.IsSubDomain(zone, txt.Hdr.Name) {
			return dns.RcodeNotZone
		}
		s.Set(txt.Hdr.Name, strings.Join(txt.Txt, ""), txt.Hdr.Class == dns.ClassINET)
	}
	s.mu.Lock()
	s.updates++
	s.mu.Unlock()
	return dns.RcodeSuccess
}

func (s *Server) answer(q dns.Question) []dns.RR {
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 1}
	switch q.Qtype {
	case dns.TypeA:
		return []dns.RR{&dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)}}
	case dns.TypeSOA:
		if slices.Contains(s.zones, strings.ToLower(q.Name)) {
			return []dns.RR{&dns.SOA{Hdr: header, Ns: "ns." + q.Name, Mbox: "host." + q.Name, Serial: 1, Refresh: 60, Retry: 60, Expire: 60, Minttl: 1}}
		}
	case dns.TypeTXT:
		var out []dns.RR
		for _, v := range s.TXT(q.Name) {
			out = append(out, &dns.TXT{Hdr: header, Txt: []string{v}})
		}
		return out
	}
	return nil
}
