package acme

import (
	"bytes"
	"context"
	"crypto/sha256"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	acmeproto "github.com/mholt/acmez/v3/acme"

	"github.com/sluicegw/sluice/model"
)

// certificate is one that storage holds, with its key.
type certificate struct {
	host, issuer         string // issuer is the key of an authority
	chain, key, metadata []byte
	leaf                 *x509.Certificate
	print                string // SHA-256 of leaf, in hex
	// fraction is a number from 0 up to 1 that is the same in every process, and
	// another for each certificate.
	fraction float64
	// wish is when the authority wanted it renewed at the time it was issued.
	wish wish
}

// model returns what is served.
func (c *certificate) model() *model.ManagedCertificate {
	return &model.ManagedCertificate{Host: c.host, ChainPEM: c.chain, KeyPEM: c.key}
}

// same reports whether o is what is served already.
func (c *certificate) same(o *certificate) bool { return o != nil && c.print == o.print }

// expired reports whether nobody takes the certificate any more.
func (c *certificate) expired(now time.Time) bool { return !now.Before(c.leaf.NotAfter) }

// errUnusable says that storage has something for a host, but no certificate with
// its key: it is being written, or was damaged.
var errUnusable = errors.New("the stored certificate and key do not belong together")

// shelf reads certificates from storage.
type shelf struct {
	storage certmagic.Storage
	keys    []string // of the authorities that are configured, in order
	// former are those of other authorities that once issued; what they issued is
	// served as long as there is nothing newer.
	former atomic.Pointer[[]string]
}

// discover looks for authorities that are no longer configured.
func (s *shelf) discover(ctx context.Context) error {
	keys, err := s.storage.List(ctx, "certificates", false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list stored certificates: %w", err)
	}
	var former []string
	for _, key := range keys {
		if name := path.Base(key); !slices.Contains(s.safe(), name) {
			former = append(former, name)
		}
	}
	slices.Sort(former)
	s.former.Store(&former)
	return nil
}

// all returns the authorities whose certificates are looked for.
func (s *shelf) all() []string {
	if former := s.former.Load(); former != nil {
		return slices.Concat(s.keys, *former)
	}
	return s.keys
}

func (s *shelf) safe() (out []string) {
	for _, key := range s.keys {
		out = append(out, certmagic.StorageKeys.Safe(key))
	}
	return out
}

// stamp returns a text that changes with what storage has for a host; "" if it has
// nothing.
func (s *shelf) stamp(ctx context.Context, host string) (string, error) {
	var b bytes.Buffer
	for _, issuer := range s.all() {
		// The key is written first and the metadata last.
		for _, key := range []string{certmagic.StorageKeys.SitePrivateKey(issuer, host), certmagic.StorageKeys.SiteMeta(issuer, host)} {
			info, err := s.storage.Stat(ctx, key)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return "", fmt.Errorf("look up %s: %w", key, err)
			}
			fmt.Fprintln(&b, key, info.Modified.UnixNano(), info.Size)
		}
	}
	return b.String(), nil
}

// read returns the newest certificate of a host, expired or not. It returns nil if
// there is none, and errUnusable if there is only half of one.
func (s *shelf) read(ctx context.Context, host string) (*certificate, error) {
	var unusable error
	var newest *certificate
	for _, issuer := range s.all() {
		c, err := s.readFrom(ctx, issuer, host)
		switch {
		case errors.Is(err, errUnusable):
			unusable = err
		case err != nil:
			return nil, err
		case c != nil && (newest == nil || c.leaf.NotBefore.After(newest.leaf.NotBefore)):
			newest = c
		}
	}
	if newest != nil {
		return newest, nil
	}
	return nil, unusable
}

// readFrom reads in the order in which writers write, so that what it returns
// belongs together.
func (s *shelf) readFrom(ctx context.Context, issuer, host string) (*certificate, error) {
	names := []string{
		certmagic.StorageKeys.SitePrivateKey(issuer, host), certmagic.StorageKeys.SiteCert(issuer, host), certmagic.StorageKeys.SiteMeta(issuer, host),
	}
	values := make([][]byte, len(names))
	found := 0
	for i, name := range names {
		value, err := s.storage.Load(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("load %s: %w", name, err)
		}
		values[i], found = value, found+1
	}
	switch found {
	case 0:
		return nil, nil
	case len(names):
	default:
		return nil, errUnusable
	}
	c := &certificate{host: host, issuer: issuer, key: values[0], chain: values[1], metadata: values[2]}
	if !c.parse() {
		return nil, errUnusable
	}
	return c, nil
}

// parse reports whether chain, key and metadata belong together.
func (c *certificate) parse() bool {
	pair, err := stdtls.X509KeyPair(c.chain, c.key)
	if err != nil || pair.Leaf == nil || pair.Leaf.VerifyHostname(c.sample()) != nil {
		return false
	}
	var resource certmagic.CertificateResource
	var issued acmeproto.Certificate
	if json.Unmarshal(c.metadata, &resource) != nil {
		return false
	}
	c.leaf = pair.Leaf
	sum := sha256.Sum256(c.leaf.Raw)
	c.print = hex.EncodeToString(sum[:])
	c.fraction = float64(binary.BigEndian.Uint64(sum[:8])>>11) / (1 << 53)
	if json.Unmarshal(resource.IssuerData, &issued) != nil || issued.RenewalInfo == nil {
		return true
	}
	// The metadata may be those of the certificate before: they are written last.
	if id, err := acmeproto.ARIUniqueIdentifier(c.leaf); err == nil && id == issued.RenewalInfo.UniqueIdentifier {
		c.wish = wishOf(c, *issued.RenewalInfo)
	}
	return true
}

// sample returns a name that the certificate has to be good for.
func (c *certificate) sample() string {
	if len(c.host) > 2 && c.host[:2] == "*." {
		return "sample" + c.host[1:]
	}
	return c.host
}

// write stores the certificate again, in the order of all writers.
func (s *shelf) write(ctx context.Context, c *certificate) error {
	for _, v := range []struct {
		key   string
		value []byte
	}{
		{certmagic.StorageKeys.SitePrivateKey(c.issuer, c.host), c.key},
		{certmagic.StorageKeys.SiteCert(c.issuer, c.host), c.chain},
		{certmagic.StorageKeys.SiteMeta(c.issuer, c.host), c.metadata},
	} {
		if err := s.storage.Store(ctx, v.key, v.value); err != nil {
			return fmt.Errorf("store %s: %w", v.key, err)
		}
	}
	return nil
}

// remove deletes what an authority issued for a host.
func (s *shelf) remove(ctx context.Context, issuer, host string) error {
	if err := s.storage.Delete(ctx, certmagic.StorageKeys.CertsSitePrefix(issuer, host)); err != nil {
		return fmt.Errorf("delete the certificate of %s: %w", host, err)
	}
	return nil
}

// issueLock names certmagic's lock around an order.
func issueLock(host string) string { return "issue_cert_" + host }

// locked runs f while nobody orders for a host.
func (s *shelf) locked(ctx context.Context, host string, f func() error) error {
	if err := s.storage.Lock(ctx, issueLock(host)); err != nil {
		return fmt.Errorf("lock the certificate of %s: %w", host, err)
	}
	return errors.Join(f(), s.storage.Unlock(ctx, issueLock(host)))
}
