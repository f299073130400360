package ticket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// lockTries and lockPause bound the wait for another process, which holds the
	// lock for milliseconds.
	lockTries = 250
	lockPause = 20 * time.Millisecond
	// maxBytes is more than any number of keys that makes sense.
	maxBytes = 1 << 20
)

// errUnusable says that the file holds no keys and never will.
var errUnusable = errors.New("not a file of session ticket keys")

// key is a key and when it was made.
type key struct {
	Created time.Time `json:"created"`
	Secret  []byte    `json:"key"`
}

// keySet holds keys, newest first: the one that will encrypt, the one that does,
// and those that did. It has two or more, or is nil.
type keySet []key

// ordered returns the keys as Envoy wants them: the one that encrypts first.
func (ks keySet) ordered() [][]byte {
	out := [][]byte{ks[1].Secret, ks[0].Secret}
	for _, k := range ks[2:] {
		out = append(out, k.Secret)
	}
	return out
}

// due returns when the next key has to be made: at once if there are none.
func (ks keySet) due(every time.Duration) time.Time {
	if ks == nil {
		return time.Time{}
	}
	return ks[0].Created.Add(every)
}

// store is a folder that several processes use at once: one that holds the lock
// replaces the file, all read it at any time.
type store struct{ dir string }

func (s store) path() string { return filepath.Join(s.dir, "tickets.json") }

// lock waits until no other process writes; it makes the folder if it is missing.
func (s store) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of session ticket keys: %w", err)
	}
	name := filepath.Join(s.dir, "tickets.lock")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the session ticket keys: %w", err)
	}
	for range lockTries {
		// The system takes the lock away from a process that dies.
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return func() { _ = f.Close() }, nil // which also unlocks
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			break
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		case <-time.After(lockPause):
		}
	}
	_ = f.Close()
	return nil, fmt.Errorf("lock %s: %w", name, err)
}

// load returns the keys, none if there is no file, and whether others could read
// the file, which it then ends.
func (s store) load() (ks keySet, exposed bool, err error) {
	f, err := os.Open(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read session ticket keys: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o077 != 0 {
		exposed = f.Chmod(0o600) == nil
	}
	text, err := io.ReadAll(io.LimitReader(f, maxBytes))
	if err != nil {
		return nil, exposed, fmt.Errorf("read session ticket keys: %w", err)
	}
	ks, err = parse(text)
	return ks, exposed, err
}

// document is the file.
type document struct {
	Keys keySet `json:"keys"`
}

func parse(text []byte) (keySet, error) {
	var d document
	if json.Unmarshal(text, &d) != nil {
		return nil, fmt.Errorf("%w: not JSON of the right shape", errUnusable) // the cause could quote a key
	}
	if len(d.Keys) < 2 {
		return nil, fmt.Errorf("%w: it has %d keys and needs two", errUnusable, len(d.Keys))
	}
	for i, k := range d.Keys {
		if len(k.Secret) != KeyBytes {
			return nil, fmt.Errorf("%w: key %d has %d bytes and needs %d", errUnusable, i+1, len(k.Secret), KeyBytes)
		}
		if i > 0 && k.Created.After(d.Keys[i-1].Created) {
			return nil, fmt.Errorf("%w: key %d is newer than the one before", errUnusable, i+1)
		}
	}
	return d.Keys, nil
}

// save replaces the file at once; the caller holds the lock.
func (s store) save(ks keySet) error {
	text, err := json.Marshal(document{ks})
	if err != nil {
		return fmt.Errorf("write session ticket keys: %w", err)
	}
	next := s.path() + ".tmp"
	_ = os.Remove(next) // of a process that died; missing otherwise
	if err := writeSynced(next, text); err != nil {
		return fmt.Errorf("write session ticket keys: %w", err)
	}
	if err := os.Rename(next, s.path()); err != nil {
		return fmt.Errorf("write session ticket keys: %w", err)
	}
	return nil
}

// writeSynced makes a file that only its owner may read and waits until the disk
// has it.
func writeSynced(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}
