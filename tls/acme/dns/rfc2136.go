// Package dns writes the TXT records of DNS-01 challenges, behind the interfaces
// of libdns that certmagic.DNS01Solver asks for.
//
// What goes in are a zone and records below it, what comes out is that they are
// in the zone or gone. There are two ways: [Update] speaks RFC 2136 to the zone's
// primary server, [Command] and [Endpoint] hand the record to somebody else's
// program. This package alone decides what those see.
package dns

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"
)

// exchangeTimeout bounds one message to a name server.
const exchangeTimeout = 10 * time.Second

// Update changes zones by dynamic updates of RFC 2136, signed by TSIG of RFC 8945.
type Update struct {
	// Server is the primary name server: "ns.example.com:53"; the port may be
	// left out. Messages go by TCP.
	Server string
	// Key names the TSIG key, Secret is its value in base64, Algorithm is
	// "hmac-sha256" if empty. Without Key messages are not signed.
	Key, Secret, Algorithm string
}

var (
	_ libdns.RecordAppender = (*Update)(nil)
	_ libdns.RecordDeleter  = (*Update)(nil)
)

// AppendRecords adds records to a zone.
func (u *Update) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return u.change(ctx, zone, records, (*dns.Msg).Insert)
}

// DeleteRecords removes records from a zone; those that are not there are no
// error.
func (u *Update) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return u.change(ctx, zone, records, (*dns.Msg).Remove)
}

// change sends one update.
func (u *Update) change(ctx context.Context, zone string, records []libdns.Record, apply func(*dns.Msg, []dns.RR)) ([]libdns.Record, error) {
	msg := new(dns.Msg)
	msg.SetUpdate(dns.Fqdn(zone))
	for _, record := range records {
		rr, err := resource(zone, record)
		if err != nil {
			return nil, err
		}
		apply(msg, []dns.RR{rr})
	}
	if err := u.send(ctx, msg); err != nil {
		return nil, fmt.Errorf("update zone %s at %s: %w", zone, u.Server, err)
	}
	return records, nil
}

// resource returns a record as the wire has it.
func resource(zone string, record libdns.Record) (dns.RR, error) {
	r := record.RR()
	name := dns.Fqdn(libdns.AbsoluteName(r.Name, dns.Fqdn(zone)))
	header := dns.RR_Header{Name: name, Class: dns.ClassINET, Ttl: uint32(r.TTL / time.Second)}
	if r.Type == "TXT" {
		header.Rrtype = dns.TypeTXT
		return &dns.TXT{Hdr: header, Txt: chunks(r.Data)}, nil
	}
	rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", name, header.Ttl, r.Type, r.Data))
	if err != nil {
		return nil, fmt.Errorf("record %s %s: %w", name, r.Type, err)
	}
	return rr, nil
}

// chunks splits a text into the character-strings of RFC 1035, 255 bytes each.
func chunks(text string) []string {
	const limit = 255
	var out []string
	for len(text) > limit {
		out, text = append(out, text[:limit]), text[limit:]
	}
	return append(out, text)
}

// send exchanges one message, and takes every answer but success for an error.
func (u *Update) send(ctx context.Context, msg *dns.Msg) error {
	client := &dns.Client{Net: "tcp", Timeout: exchangeTimeout}
	if u.Key != "" {
		algorithm := u.Algorithm
		if algorithm == "" {
			algorithm = dns.HmacSHA256
		}
		key := dns.CanonicalName(u.Key)
		client.TsigSecret = map[string]string{key: u.Secret}
		const fudge = 300 // seconds by which clocks may differ, RFC 8945 section 10
		msg.SetTsig(key, dns.CanonicalName(algorithm), fudge, time.Now().Unix())
	}
	server := u.Server
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(server, "53")
	}
	answer, _, err := client.ExchangeContext(ctx, msg, server)
	switch {
	case err != nil:
		return err
	case answer.Rcode == dns.RcodeNotAuth && u.Key != "":
		return fmt.Errorf("the server answers NOTAUTH: it does not take the TSIG key %s, or the zone is not its own; compare the name, secret and algorithm of the key", u.Key)
	case answer.Rcode != dns.RcodeSuccess:
		return fmt.Errorf("the server answers %s", dns.RcodeToString[answer.Rcode])
	}
	return nil
}
