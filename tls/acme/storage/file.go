// Package storage keeps what an ACME client must not lose or do twice:
// certificates with their keys, accounts, challenge tokens and locks.
//
// What goes in are keys with slashes and values, what comes out is a
// certmagic.Storage that several processes may share; package storagetest says
// what each backend has to satisfy. This package alone decides how a lock is
// held, and how it is freed when its holder dies.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/sys/unix"
)

// lockPoll is how often a taken lock is tried again.
const lockPoll = 50 * time.Millisecond

// File keeps everything below a directory, readable by its owner only. Values
// are replaced whole, by rename. A lock is a lock of the kernel on a file: it ends
// with the process that holds it, so that nobody waits for the dead.
type File struct {
	files certmagic.FileStorage
	mu    sync.Mutex
	held  map[string]*os.File // by name of the lock
}

var (
	_ certmagic.Storage   = (*File)(nil)
	_ certmagic.TryLocker = (*File)(nil)
)

// NewFile returns the storage below dir, which is created with the first value.
func NewFile(dir string) *File {
	return &File{files: certmagic.FileStorage{Path: dir}, held: map[string]*os.File{}}
}

// String names the storage.
func (f *File) String() string { return "directory " + f.files.Path }

// Store puts value at key.
func (f *File) Store(ctx context.Context, key string, value []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.files.Store(ctx, key, value)
}

// Load returns the value at key; an error is fs.ErrNotExist if there is none.
func (f *File) Load(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return f.files.Load(ctx, key)
}

// Delete removes key and all keys below it.
func (f *File) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.files.Delete(ctx, key)
}

// Exists reports whether there is a value at key or below it.
func (f *File) Exists(_ context.Context, key string) bool {
	_, err := os.Stat(f.files.Filename(key))
	return err == nil
}

// List returns the keys below prefix: the next level, or all levels.
func (f *File) List(ctx context.Context, prefix string, recursive bool) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return f.files.List(ctx, prefix, recursive)
}

// Stat tells when the value at key was stored, and its size.
func (f *File) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	if err := ctx.Err(); err != nil {
		return certmagic.KeyInfo{}, err
	}
	return f.files.Stat(ctx, key)
}

// Lock takes the lock called name, and waits for it if it is taken.
func (f *File) Lock(ctx context.Context, name string) error {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		taken, err := f.TryLock(ctx, name)
		if err != nil || taken {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// TryLock takes the lock called name, or returns false if it is taken.
func (f *File) TryLock(ctx context.Context, name string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	path := f.lockPath(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, fmt.Errorf("lock %s: %w", name, err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", name, err)
	}
	taken, err := lockFile(file, path)
	if err != nil || !taken {
		_ = file.Close()
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held[name] = file
	return true, nil
}

// lockFile locks an open file, unless somebody else has, or the file is no longer
// the one at path because its holder just let go.
func lockFile(file *os.File, path string) (bool, error) {
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
			return false, nil
		}
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	opened, err := file.Stat()
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	current, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	return os.SameFile(opened, current), nil
}

// Unlock gives the lock called name back. It works on after a context ended:
// what was begun is cleaned up.
func (f *File) Unlock(_ context.Context, name string) error {
	f.mu.Lock()
	file := f.held[name]
	delete(f.held, name)
	f.mu.Unlock()
	if file == nil {
		return fmt.Errorf("unlock %s: it is not locked here", name)
	}
	// The file goes while the lock is held: whoever opened it before finds at the
	// path another file, or none, and tries again.
	err := os.Remove(f.lockPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, file.Close())
}

func (f *File) lockPath(name string) string {
	return filepath.Join(f.files.Path, "locks", certmagic.StorageKeys.Safe(name)+".lock")
}
