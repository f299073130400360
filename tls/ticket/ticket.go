// Package ticket makes the keys of TLS session tickets and exchanges them in
// time.
//
// What goes in: a folder that all processes of a fleet share, how often to
// exchange and how long to keep. What comes out: the same keys in each of them,
// so that a client resumes its session wherever it comes back. It alone decides
// which key encrypts: a new one only decrypts for the time of one exchange, until
// everybody has it, then encrypts for as long, and decrypts again until it is
// dropped. The keys are as secret as a certificate's: only the owner may read
// their file, and nothing here prints them.
package ticket

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// KeyBytes is the length of a key.
//
// Source: envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys.
const KeyBytes = 80

const (
	defaultEvery = time.Hour
	defaultKeep  = 3
	// lookEvery bounds the time until the work of another process is seen, also
	// work that nobody planned, like a file that was removed to have new keys.
	lookEvery = time.Minute
	// retryEvery is the time between attempts while the folder cannot be used.
	retryEvery = 10 * time.Second
)

// Options of [New].
type Options struct {
	// Dir is the folder of the keys; it is made if it does not exist.
	Dir string
	// Every is how long a key encrypts; zero is an hour. Keep is for how many times
	// as long it decrypts after that; zero is three. All processes of a folder have
	// the same.
	Every time.Duration
	Keep  int
	// Now is the clock, time.Now if nil. Rand gives random bytes, those of
	// crypto/rand if nil. Log may be nil.
	Now  func() time.Time
	Rand io.Reader
	Log  *slog.Logger
}

// Rotation exchanges the keys of one folder.
type Rotation struct {
	store store
	every time.Duration
	keep  int
	now   func() time.Time
	rand  io.Reader
	log   *slog.Logger

	mu   sync.Mutex
	told [sha256.Size]byte // digest of the keys that were last handed out
}

// New returns a rotation that has touched nothing yet.
func New(o Options) *Rotation {
	r := &Rotation{store: store{dir: o.Dir}, every: o.Every, keep: o.Keep, now: o.Now, rand: o.Rand, log: o.Log}
	if r.every <= 0 {
		r.every = defaultEvery
	}
	if r.keep <= 0 {
		r.keep = defaultKeep
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.rand == nil {
		r.rand = rand.Reader
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	return r
}

// Keys returns the keys, [KeyBytes] each, made if there are none: first the one
// that encrypts, then the one that will, then those that once did, newest first.
func (r *Rotation) Keys() ([][]byte, error) {
	ks, err := r.look(context.Background())
	if err != nil {
		return nil, err
	}
	keys := ks.ordered()
	r.tell(keys)
	return keys, nil
}

// Run exchanges keys when it is time and sends them, in the order of
// [Rotation.Keys], whenever they are others than those last handed out, whoever
// exchanged them. While the folder cannot be used the last ones stay. Run ends
// with ctx, without an error.
func (r *Rotation) Run(ctx context.Context, out chan<- [][]byte) error {
	var pending [][]byte
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var send chan<- [][]byte
		if pending != nil {
			send = out
		}
		select {
		case <-ctx.Done():
			return nil
		case send <- pending:
			pending = nil
		case <-timer.C:
			ks, err := r.look(ctx)
			if err != nil {
				if ctx.Err() == nil {
					r.log.Warn("session ticket keys cannot be exchanged, the last ones stay", "error", err, "retry", retryEvery)
				}
				timer.Reset(retryEvery)
				continue
			}
			if keys := ks.ordered(); r.tell(keys) {
				pending = keys
			}
			timer.Reset(min(ks.due(r.every).Sub(r.now()), lookEvery))
		}
	}
}

// tell notes keys as handed out and reports whether they are others than before.
func (r *Rotation) tell(keys [][]byte) bool {
	sum := sha256.Sum256(bytes.Join(keys, nil))
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := sum != r.told
	r.told = sum
	return changed
}

// look returns the keys of the folder after it made or exchanged those that are
// due.
func (r *Rotation) look(ctx context.Context) (keySet, error) {
	if ks, err := r.load(); err == nil && r.now().Before(ks.due(r.every)) {
		return ks, nil
	}
	unlock, err := r.store.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	ks, err := r.load() // another process may have been here
	switch {
	case errors.Is(err, errUnusable):
		r.log.Warn("session ticket keys are made anew, their file cannot be used", "file", r.store.path(), "error", err)
	case err != nil:
		return nil, err
	case ks != nil && r.now().Before(ks.due(r.every)):
		return ks, nil
	}
	if ks, err = r.exchange(ks); err != nil {
		return nil, err
	}
	if err := r.store.save(ks); err != nil {
		return nil, err
	}
	r.log.Info("session ticket keys are exchanged", "keys", len(ks))
	return ks, nil
}

// load reads the keys; none without an error if there is no file.
func (r *Rotation) load() (keySet, error) {
	ks, exposed, err := r.store.load()
	if exposed {
		r.log.Warn("session ticket keys could be read by others, which is put right", "file", r.store.path())
	}
	if err == nil && ks != nil && ks[0].Created.After(r.now().Add(r.every)) {
		return nil, fmt.Errorf("%w: its keys are from the future", errUnusable)
	}
	return ks, err
}

// exchange puts a new key before those that are young enough, or two if there
// are fewer than two to go on with.
func (r *Rotation) exchange(old keySet) (keySet, error) {
	now := r.now().UTC()
	oldest := now.Add(-time.Duration(2+r.keep) * r.every)
	var young keySet
	for _, k := range old {
		if k.Created.After(oldest) {
			young = append(young, k)
		}
	}
	created := []time.Time{now}
	if len(young) < 2 {
		// As if it had been distributed already: nobody has an older one.
		created = append(created, now.Add(-r.every))
	}
	var out keySet
	for _, at := range created {
		secret := make([]byte, KeyBytes)
		if _, err := io.ReadFull(r.rand, secret); err != nil {
			return nil, fmt.Errorf("make a session ticket key: %w", err)
		}
		out = append(out, key{Created: at, Secret: secret})
	}
	return append(out, young...), nil
}
