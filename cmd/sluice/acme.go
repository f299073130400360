package main

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/mail"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sluicegw/sluice/compile"
	"github.com/sluicegw/sluice/tls/acme"
	"github.com/sluicegw/sluice/tls/acme/dns"
	"github.com/sluicegw/sluice/tls/acme/storage"
	"github.com/sluicegw/sluice/tls/ondemand"
)

const acmeCategory = "Automatic certificates"

// acmeFlags say where automatic certificates come from.
func acmeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "acme-email", EnvVars: []string{"SLUICE_ACME_EMAIL"}, Category: acmeCategory,
			Usage: "`ADDRESS` for the authority; TLS servers that name no certificate then get one automatically",
		},
		&cli.StringSliceFlag{
			Name: "acme-directory", EnvVars: []string{"SLUICE_ACME_DIRECTORY"}, Category: acmeCategory,
			Usage: "`DIRECTORY` of an ACME authority: letsencrypt, letsencrypt-staging, zerossl, google, google-staging or a URL; " +
				"others that are tried in turn come behind a comma or in a flag of their own. Options follow a #: profile=, chain=, eab=KEYID:HMAC, roots=FILE, joined by &",
		},
		&cli.BoolFlag{Name: "acme-staging", EnvVars: []string{"SLUICE_ACME_STAGING"}, Category: acmeCategory, Usage: "short for --acme-directory letsencrypt-staging"},
		&cli.StringFlag{
			Name: "acme-dns", EnvVars: []string{"SLUICE_ACME_DNS"}, Category: acmeCategory,
			Usage: "`HOW` DNS-01 records are published, which wildcards need: rfc2136://SERVER[:PORT]?key=NAME&secret=BASE64[&algorithm=hmac-sha256], " +
				"exec:PROGRAM, or the URL of a hook; resolvers=HOST:PORT and propagation=DURATION may be added as parameters",
		},
		&cli.StringFlag{
			Name: "acme-ask", EnvVars: []string{"SLUICE_ACME_ASK"}, Category: acmeCategory,
			Usage: "`URL` that is asked, with ?domain=NAME, before a certificate is ordered on demand; an answer of 200 allows it",
		},
		&cli.StringFlag{
			Name: "acme-storage", EnvVars: []string{"SLUICE_ACME_STORAGE"}, Category: acmeCategory,
			Usage: "`DIR` for certificates, accounts and keys of session tickets; several gateways may share it (default: certificates in the data directory)",
		},
	}
}

// storageDir is the folder for what gateways share: that of --acme-storage, else
// one of the data directory.
func storageDir(c *cli.Context, dataDir, name string) string {
	if dir := c.String("acme-storage"); dir != "" {
		return dir
	}
	return filepath.Join(dataDir, name)
}

// acmeOptionsOf reads the flags.
func acmeOptionsOf(c *cli.Context, dataDir string) (acme.Options, error) {
	o := acme.Options{Email: c.String("acme-email")}
	if a, err := mail.ParseAddress(o.Email); o.Email != "" && (err != nil || a.Address != o.Email) {
		return o, cli.Exit(fmt.Sprintf("sluice: --acme-email %q is no address; write you@example.org", o.Email), 2)
	}
	o.Storage = storage.NewFile(storageDir(c, dataDir, "certificates"))
	directories := c.StringSlice("acme-directory")
	if c.Bool("acme-staging") {
		directories = append(directories, acme.LetsEncryptStaging)
	}
	for _, d := range directories {
		issuer, err := issuerOf(d)
		if err != nil {
			return o, cli.Exit(fmt.Sprintf("sluice: --acme-directory: %v", err), 2)
		}
		o.Issuers = append(o.Issuers, issuer)
	}
	var err error
	if o.DNS, err = dnsOf(c.String("acme-dns")); err != nil {
		return o, cli.Exit(fmt.Sprintf("sluice: --acme-dns: %v", err), 2)
	}
	return o, nil
}

// issuerOf reads one directory with its options: "zerossl#eab=ID:HMAC".
func issuerOf(text string) (acme.IssuerOptions, error) {
	directory, options, _ := strings.Cut(text, "#")
	o := acme.IssuerOptions{Directory: directory}
	values, err := url.ParseQuery(options)
	if err != nil {
		return o, fmt.Errorf("the options of %q cannot be read; write them as profile=x&chain=y", directory)
	}
	for name := range values {
		value := values.Get(name)
		switch name {
		case "profile":
			o.Profile = value
		case "chain":
			o.PreferredChain = value
		case "roots":
			o.TrustedRootsFile = value
		case "eab":
			id, hmac, _ := strings.Cut(value, ":")
			if id == "" || hmac == "" {
				return o, fmt.Errorf("eab of %q is not KEYID:HMAC", directory)
			}
			o.EABKeyID, o.EABHMAC = id, hmac
		default:
			return o, fmt.Errorf("%q is no option of a directory; profile, chain, eab and roots are", name)
		}
	}
	return o, nil
}

// dnsOf reads how DNS-01 records are published; nil for "". Errors repeat nothing
// that may be a secret.
func dnsOf(text string) (*acme.DNS, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("it is no URL; write rfc2136://SERVER, exec:PROGRAM or the URL of a hook")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("what is behind the ? cannot be read; write name=value&name=value, and + as %2B")
	}
	o := &acme.DNS{}
	if r := q.Get("resolvers"); r != "" {
		o.Resolvers = strings.Split(r, ",")
	}
	if p := q.Get("propagation"); p != "" {
		if o.PropagationTimeout, err = time.ParseDuration(p); err != nil {
			return nil, fmt.Errorf("propagation %q is no duration; write 2m, or -1s to ask no name server", p)
		}
	}
	q.Del("resolvers")
	q.Del("propagation")
	switch u.Scheme {
	case "rfc2136":
		o.Provider, err = updateOf(u.Host, q)
	case "exec":
		o.Provider, err = hookOf(cmp.Or(u.Opaque, u.Path), q)
	case "http", "https":
		u.RawQuery = q.Encode() // the rest is the hook's
		o.Provider = dns.Endpoint{URL: u.String()}
	default:
		return nil, fmt.Errorf("%q is no way to publish; write rfc2136://SERVER, exec:PROGRAM or the URL of a hook", cmp.Or(u.Scheme, u.Path))
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

// updateOf reads the parameters of RFC 2136.
func updateOf(server string, q url.Values) (*dns.Update, error) {
	out := &dns.Update{Server: server, Key: q.Get("key"), Secret: q.Get("secret"), Algorithm: q.Get("algorithm")}
	if server == "" {
		return nil, errors.New("the name server is missing; write rfc2136://SERVER[:PORT]")
	}
	if (out.Key == "") != (out.Secret == "") {
		return nil, errors.New("key and secret go together; give both, or none for updates that are not signed")
	}
	if _, err := base64.StdEncoding.DecodeString(out.Secret); err != nil {
		return nil, errors.New("the secret is not in base64; write + as %2B")
	}
	known := []string{"", "hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"}
	if !slices.Contains(known, strings.TrimSuffix(out.Algorithm, ".")) {
		return nil, fmt.Errorf("algorithm %q is not known; use one of %s", out.Algorithm, strings.Join(known[1:], ", "))
	}
	return out, onlyParameters(q, "key", "secret", "algorithm")
}

// hookOf reads the program of a hook.
func hookOf(program string, q url.Values) (dns.Command, error) {
	if program == "" {
		return dns.Command{}, errors.New("the program is missing; write exec:/path/of/program")
	}
	return dns.Command{Path: program}, onlyParameters(q)
}

// onlyParameters reports a parameter that is none of those that are known.
func onlyParameters(q url.Values, known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%q is no parameter; %s are", name, strings.Join(append(known, "resolvers", "propagation"), ", "))
		}
	}
	return nil
}

// offlineACME says what `sluice run` with the same flags could do; challenges are
// answered on ports that only a running gateway has.
func offlineACME(c *cli.Context) (*compile.ACME, error) {
	o, err := acmeOptionsOf(c, "")
	if err != nil {
		return nil, err
	}
	ask, err := askURLOf(c)
	if err != nil {
		return nil, err
	}
	nowhere := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	return fleetACME(o, ask, nowhere, nowhere), nil
}

// fleetACME says what the compiler may count on, given where challenges are answered.
func fleetACME(o acme.Options, askURL string, http, tlsALPN netip.AddrPort) *compile.ACME {
	return &compile.ACME{HTTP: http, TLSALPN: tlsALPN, Wildcards: o.DNS != nil, Implied: o.Email != "", Asks: askURL != ""}
}

// askURLOf returns who is asked before a certificate is ordered on demand; "" is
// nobody.
func askURLOf(c *cli.Context) (string, error) {
	text := c.String("acme-ask")
	if text == "" {
		return "", nil
	}
	if err := ondemand.CheckURL(text); err != nil {
		return "", cli.Exit(fmt.Sprintf("sluice: --acme-ask: %v", err), 2)
	}
	return text, nil
}
