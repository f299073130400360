package acme

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	acmeproto "github.com/mholt/acmez/v3/acme"
)

// prefix is where storage has what is ours.
const prefix = "sluice/"

// record is what all processes know of the orders for a host. It is written by
// the holder of the lock of the host's certificate.
type record struct {
	// Failures counts attempts that failed since the last that did not; Error is
	// what was said, Attempt which attempt it was.
	Failures int    `json:"failures,omitempty"`
	Error    string `json:"error,omitempty"`
	Attempt  string `json:"attempt,omitempty"`
	// Next is before when nobody tries again.
	Next time.Time `json:"next,omitzero"`
	// Revoked are the prints of certificates that nobody may serve.
	Revoked []string `json:"revoked,omitempty"`
}

func recordKey(host string) string {
	return prefix + "hosts/" + certmagic.StorageKeys.Safe(host) + ".json"
}

// loadRecord returns the record of a host, the zero one if there is none.
func loadRecord(ctx context.Context, s certmagic.Storage, host string) (record, error) {
	var r record
	value, err := s.Load(ctx, recordKey(host))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("load the record of %s: %w", host, err)
	}
	if json.Unmarshal(value, &r) != nil {
		return record{}, nil // damaged: as if nothing had happened yet
	}
	return r, nil
}

func storeRecord(ctx context.Context, s certmagic.Storage, host string, r record) error {
	value, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("store the record of %s: %w", host, err)
	}
	if err := s.Store(ctx, recordKey(host), value); err != nil {
		return fmt.Errorf("store the record of %s: %w", host, err)
	}
	return nil
}

// revoked reports whether a certificate must not be served.
func (r record) revoked(c *certificate) bool { return slices.Contains(r.Revoked, c.print) }

// retryIn returns the wait after so many failures: doubled each time, up to the
// last, and a tenth longer at most so that hosts do not come together.
func retryIn(host string, failures int, first, last time.Duration) time.Duration {
	wait := first
	for range failures - 1 {
		if wait *= 2; wait >= last {
			wait = last
			break
		}
	}
	sum := sha256.Sum256(fmt.Append(nil, host, failures))
	part := float64(binary.BigEndian.Uint32(sum[:4])) / (1 << 32)
	return wait + time.Duration(float64(wait)*0.1*part)
}

// caWords returns what an authority said, or else what went wrong on the way.
func caWords(err error) string {
	var p acmeproto.Problem
	if !errors.As(err, &p) {
		return err.Error()
	}
	kind := strings.TrimPrefix(p.Type, acmeproto.ProblemTypeNamespace)
	text := kind + ": " + p.Detail
	for _, sub := range p.Subproblems {
		text += "; " + strings.TrimPrefix(sub.Type, acmeproto.ProblemTypeNamespace) + ": " + sub.Detail
	}
	return text
}

// retryAfter is how Let's Encrypt ends the words of a refusal by a limit.
var retryAfter = regexp.MustCompile(`retry after (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC`)

// namedRetry returns the instant that an authority's words name; zero if none.
func namedRetry(words string) time.Time {
	found := retryAfter.FindStringSubmatch(words)
	if found == nil {
		return time.Time{}
	}
	at, err := time.Parse(time.DateTime, found[1])
	if err != nil {
		return time.Time{}
	}
	return at
}

// refusesPredecessor reports whether an authority may have refused an order only
// because it does not know, or not so, the certificate that is replaced.
//
// Source: RFC 9773 section 5 names alreadyReplaced; authorities answer others too.
func refusesPredecessor(err error) bool {
	var p acmeproto.Problem
	if !errors.As(err, &p) {
		return false
	}
	switch p.Type {
	case acmeproto.ProblemTypeAlreadyReplaced, acmeproto.ProblemTypeMalformed, acmeproto.ProblemTypeServerInternal:
		return true
	}
	return false
}

// unauthorized reports whether an authority found no proof that a host is ours,
// which it counts.
func unauthorized(err error) bool {
	var p acmeproto.Problem
	if !errors.As(err, &p) {
		return false
	}
	if _, ok := p.Resource.(acmeproto.Authorization); ok {
		return true
	}
	switch p.Type {
	case acmeproto.ProblemTypeConnection, acmeproto.ProblemTypeDNS, acmeproto.ProblemTypeIncorrectResponse,
		acmeproto.ProblemTypeTLS, acmeproto.ProblemTypeUnauthorized, acmeproto.ProblemTypeCAA:
		return true
	}
	return false
}
