package acme

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"

	"github.com/caddyserver/certmagic"
	acmeproto "github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"

	"github.com/sluicegw/sluice/tls/acme/budget"
)

// way is how a host is proven.
type way int

// The ways. HTTP-01 also needs a plain-text port.
const (
	wayTLS way = iota
	wayHTTP
	wayDNS
)

// issuer is one authority, with a certmagic configuration for each way.
type issuer struct {
	name   string // as it was configured
	key    string // certmagic's, in storage keys
	ways   map[way]*certmagic.Config
	acme   *certmagic.ACMEIssuer // of any way
	ledger *budget.Ledger
}

// quiet asks no question on the terminal when there is no email address.
type quiet struct{ *certmagic.ACMEIssuer }

// workshop makes issuers.
type workshop struct {
	options   Options
	cache     *certmagic.Cache
	log       *zap.Logger
	http, tls netip.AddrPort
	onEvent   eventFunc
}

// issuers makes those of the options, and a configuration that answers challenges
// of all of them.
func (w workshop) issuers() ([]*issuer, *certmagic.Config, error) {
	var out []*issuer
	answer := w.config(nil)
	seen := map[string]bool{}
	for _, o := range w.options.Issuers {
		template, err := w.template(o)
		if err != nil {
			return nil, nil, err
		}
		made := w.issuer(o, template)
		if seen[made.key] {
			return nil, nil, fmt.Errorf("ACME directory %s is configured twice", o.Directory)
		}
		seen[made.key] = true
		out = append(out, made)
		answer.Issuers = append(answer.Issuers, certmagic.NewACMEIssuer(answer, template))
		if template.TestCA != "" && template.TestCA != template.CA {
			template.CA = template.TestCA
			answer.Issuers = append(answer.Issuers, certmagic.NewACMEIssuer(answer, template))
		}
	}
	return out, answer, nil
}

func (w workshop) issuer(o IssuerOptions, template certmagic.ACMEIssuer) *issuer {
	made := &issuer{name: o.Directory, ways: map[way]*certmagic.Config{}}
	for _, how := range []way{wayTLS, wayHTTP, wayDNS} {
		if how == wayDNS && w.options.DNS == nil {
			continue
		}
		template := template
		template.DisableHTTPChallenge = how != wayHTTP
		if how == wayDNS {
			template.DNS01Solver = w.dnsSolver()
		}
		config := w.config(w.onEvent)
		made.acme = certmagic.NewACMEIssuer(config, template)
		config.Issuers = []certmagic.Issuer{made.acme}
		if w.options.Email == "" {
			config.Issuers[0] = quiet{made.acme}
		}
		made.ways[how] = config
	}
	made.key = made.acme.IssuerKey()
	made.ledger = &budget.Ledger{
		Storage: w.options.Storage, Prefix: prefix + "budget/" + certmagic.StorageKeys.Safe(made.key),
		Limits: limits(o), Now: w.options.Now,
	}
	return made
}

func limits(o IssuerOptions) budget.Limits {
	if o.Limits != nil {
		return *o.Limits
	}
	if _, ok := wellKnown(o.Directory); ok {
		return budget.LetsEncrypt()
	}
	return budget.Limits{}
}

func (w workshop) config(onEvent eventFunc) *certmagic.Config {
	return certmagic.New(w.cache, certmagic.Config{
		Storage: w.options.Storage, Logger: w.log, OnEvent: onEvent,
		KeySource: certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
		// Staples are not fetched here.
		OCSP: certmagic.OCSPConfig{DisableStapling: true},
		// The issuers follow: they need the configuration.
		Issuers: []certmagic.Issuer{},
	})
}

// template returns the issuer of certmagic that belongs to no configuration yet.
func (w workshop) template(o IssuerOptions) (certmagic.ACMEIssuer, error) {
	directory := o.Directory
	if known, ok := wellKnown(directory); ok {
		directory = known
	}
	if u, err := url.Parse(directory); err != nil || u.Scheme == "" || u.Host == "" {
		return certmagic.ACMEIssuer{}, fmt.Errorf("ACME directory %q is no URL, nor one of %s, %s, %s, %s and %s",
			o.Directory, LetsEncrypt, LetsEncryptStaging, ZeroSSL, Google, GoogleStaging)
	}
	t := certmagic.ACMEIssuer{
		CA: directory, Email: w.options.Email, Agreed: true, Profile: o.Profile, Logger: w.log,
		ListenHost: w.http.Addr().String(), AltHTTPPort: int(w.http.Port()), AltTLSALPNPort: int(w.tls.Port()),
	}
	if directory == certmagic.LetsEncryptProductionCA {
		t.TestCA = certmagic.LetsEncryptStagingCA // after a failure it is tried where failures cost nothing
	}
	if o.PreferredChain != "" {
		t.PreferredChains.AnyCommonName = []string{o.PreferredChain}
	}
	switch {
	case o.EABKeyID != "" && o.EABHMAC != "":
		t.ExternalAccount = &acmeproto.EAB{KeyID: o.EABKeyID, MACKey: o.EABHMAC}
	case o.EABKeyID != "" || o.EABHMAC != "":
		return t, fmt.Errorf("ACME directory %s: an external account needs both a key id and a MAC key", o.Directory)
	}
	if o.TrustedRootsFile == "" {
		return t, nil
	}
	text, err := os.ReadFile(o.TrustedRootsFile)
	if err != nil {
		return t, fmt.Errorf("ACME directory %s: %w", o.Directory, err)
	}
	t.TrustedRoots = x509.NewCertPool()
	if !t.TrustedRoots.AppendCertsFromPEM(text) {
		return t, fmt.Errorf("ACME directory %s: file %s has no certificate in PEM", o.Directory, o.TrustedRootsFile)
	}
	return t, nil
}

func (w workshop) dnsSolver() *certmagic.DNS01Solver {
	d := w.options.DNS
	timeout := d.PropagationTimeout
	if timeout < 0 {
		timeout = -1
	}
	return &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
		DNSProvider: d.Provider, TTL: d.TTL, PropagationDelay: d.PropagationDelay, PropagationTimeout: timeout,
		Resolvers: d.Resolvers, OverrideDomain: d.OverrideDomain, Logger: w.log,
	}}
}

// checkOptions returns what no certificate can be ordered with.
func checkOptions(o Options) error {
	if o.Storage == nil {
		return errors.New("automatic certificates need a storage")
	}
	if o.DNS != nil && o.DNS.Provider == nil {
		return errors.New("DNS-01 needs a provider")
	}
	return nil
}
