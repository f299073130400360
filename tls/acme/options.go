// Package acme gets certificates from ACME authorities, renews them and knows
// what is served.
//
// What goes in are the hosts that want a certificate once a challenge for them
// reaches this process, what comes out are certificates with their keys, and the
// state of each host. Sluice never ends the TLS of users here: the proxies do,
// and pass challenges to two ports of the loopback address. This package alone
// decides when a certificate is ordered, renewed, replaced or given up.
//
// Several processes may share one storage. Storage is the truth about what is
// served: each process looks there, and not at what it did itself. Orders, tokens
// of challenges and accounts are certmagic's; its locks and its layout of keys are
// used as they are, its cache and its own schedule are not. What several
// processes have to know of a host besides its certificate is below "sluice/".
//
// certmagic keeps some state per process: challenges that are under way, the
// pace of ten orders in ten seconds for an account, zones that were looked up. So
// one [Manager] per process is the rule; more of them, with different hosts, work.
package acme

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/tls/acme/budget"
)

// Options of a Manager.
type Options struct {
	// Storage is shared by all processes that serve the same hosts.
	Storage certmagic.Storage
	// Issuers are tried in order; empty is Let's Encrypt.
	Issuers []IssuerOptions
	// Email is told to the authorities; it may be empty.
	Email string
	// DNS proves hosts by DNS-01, which wildcards need; nil refuses them.
	DNS *DNS
	// RenewalRatio is the part of a certificate's life that is left when it is
	// renewed at the latest; a third if zero. An authority may ask for it earlier.
	RenewalRatio float64
	// PollInterval is how often storage is looked at; two seconds if zero.
	PollInterval time.Duration
	// RenewalInfoInterval bounds how long an authority's wish for a renewal (RFC
	// 9773) goes unseen, whatever time it names itself; six hours if zero.
	RenewalInfoInterval time.Duration
	// FirstRetry is the wait after one failure, doubled by each further one up to
	// LastRetry; a minute and six hours if zero.
	FirstRetry, LastRetry time.Duration
	// Log gets what happens; nil discards it.
	Log *slog.Logger
	// Registerer gets the metrics, if set.
	Registerer prometheus.Registerer
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// OnChange is told, one call at a time, which certificates came or changed, by
	// host, and which hosts have none any more because theirs expired or was
	// revoked. It returns quickly and calls nothing of the Manager.
	OnChange func(changed map[string]*model.ManagedCertificate, removed []string)
	// OnFailure is told that an attempt for a host ended without a certificate, in
	// the way of OnChange but for several hosts at once.
	OnFailure func(host string)
}

// DNS says how TXT records of challenges are published.
type DNS struct {
	// Provider writes them; package dns has two.
	Provider certmagic.DNSProvider
	// TTL is that of the records.
	TTL time.Duration
	// PropagationDelay is the wait before name servers are asked for the record;
	// PropagationTimeout is until when they must have it, two minutes if zero, and
	// negative does not ask.
	PropagationDelay, PropagationTimeout time.Duration
	// Resolvers are asked instead of those of the system: host:port.
	Resolvers []string
	// OverrideDomain gets the record instead of _acme-challenge.host, which is an
	// alias for it then.
	OverrideDomain string
}

// IssuerOptions is one authority.
type IssuerOptions struct {
	// Directory is the URL of the directory, or one of "letsencrypt",
	// "letsencrypt-staging", "zerossl", "google" and "google-staging".
	Directory string
	// TrustedRootsFile has the authorities in PEM that may have signed the
	// directory's own certificate; empty trusts those of the system.
	TrustedRootsFile string
	// EABKeyID and EABHMAC bind the account to an external one; EABHMAC is in
	// base64url.
	EABKeyID, EABHMAC string
	// Profile is the kind of certificate, in the authority's words.
	Profile string
	// PreferredChain is the common name of an issuer in the chain that is
	// preferred to others.
	PreferredChain string
	// Limits are those of the authority; nil takes those of Let's Encrypt for the
	// authorities with a name, and none for others.
	Limits *budget.Limits
}

// The words for well-known directories.
const (
	LetsEncrypt        = "letsencrypt"
	LetsEncryptStaging = "letsencrypt-staging"
	ZeroSSL            = "zerossl"
	Google             = "google"
	GoogleStaging      = "google-staging"
)

// wellKnown returns the URL behind a word.
func wellKnown(directory string) (string, bool) {
	url, ok := map[string]string{
		LetsEncrypt:        certmagic.LetsEncryptProductionCA,
		LetsEncryptStaging: certmagic.LetsEncryptStagingCA,
		ZeroSSL:            certmagic.ZeroSSLProductionCA,
		Google:             certmagic.GoogleTrustProductionCA,
		GoogleStaging:      certmagic.GoogleTrustStagingCA,
	}[directory]
	return url, ok
}

// defaults fills in what was left out.
func (o Options) defaults() Options {
	if len(o.Issuers) == 0 {
		o.Issuers = []IssuerOptions{{Directory: LetsEncrypt}}
	}
	if o.RenewalRatio <= 0 || o.RenewalRatio >= 1 {
		o.RenewalRatio = certmagic.DefaultRenewalWindowRatio
	}
	setDefault(&o.PollInterval, 2*time.Second)
	setDefault(&o.RenewalInfoInterval, 6*time.Hour)
	setDefault(&o.FirstRetry, time.Minute)
	setDefault(&o.LastRetry, 6*time.Hour)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnChange == nil {
		o.OnChange = func(map[string]*model.ManagedCertificate, []string) {}
	}
	if o.OnFailure == nil {
		o.OnFailure = func(string) {}
	}
	return o
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// SetUserAgent names the program to all authorities, as RFC 8555 section 6.1
// asks: "sluice/1.2". It is for the start of the process, before any [New].
func SetUserAgent(agent string) { certmagic.UserAgent = agent }

// challengePath is where HTTP-01 challenges are asked for.
const challengePath = "/.well-known/acme-challenge/"

// answerer answers HTTP-01 challenges.
type answerer interface {
	HandleHTTPChallenge(w http.ResponseWriter, r *http.Request) bool
}

// attemptKey carries an *attempt in the context of an order.
type attemptKey struct{}

// attemptOf returns the attempt that a context belongs to.
func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}
