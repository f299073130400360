// Package storagetest is the contract of what automatic certificates are stored
// in: every backend passes [Run]. What goes in is a way to open a store, what
// comes out are failed tests that name the broken promise.
//
// The promises are those of certmagic.Storage, and two more on which replicas
// rely: what one handle stored the others read at once, and a lock is exclusive
// across handles.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

// patience bounds every wait.
const patience = 20 * time.Second

// Run holds a backend against the contract. Each call of open makes a new, empty
// store; each call of what it returns gives one more handle on that store, as
// another process would have it.
func Run(t *testing.T, open func(t *testing.T) func() certmagic.Storage) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, func() certmagic.Storage){
		"a missing key":        missing,
		"store and load":       storeAndLoad,
		"delete":               remove,
		"list":                 list,
		"stat":                 stat,
		"no torn values":       torn,
		"handles see the same": shared,
		"locks exclude":        excludes,
		"waiting for a lock":   waits,
		"a lock wait ends":     cancelled,
		"trying a lock":        tries,
		"a context that ended": ended,
		"odd names":            names,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func missing(t *testing.T, open func() certmagic.Storage) {
	s := open()
	if _, err := s.Load(t.Context(), "a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load: %v, want fs.ErrNotExist", err)
	}
	if _, err := s.Stat(t.Context(), "a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat: %v, want fs.ErrNotExist", err)
	}
	if keys, err := s.List(t.Context(), "a", true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List: %v, %v, want fs.ErrNotExist", keys, err)
	}
	if s.Exists(t.Context(), "a/b") {
		t.Error("it exists")
	}
	if err := s.Delete(t.Context(), "a/b"); err != nil {
		t.Errorf("Delete: %v, want no error", err)
	}
}

func storeAndLoad(t *testing.T, open func() certmagic.Storage) {
	s := open()
	large := bytes.Repeat([]byte{0, 1, 0xff, '\n'}, 32<<10)
	for _, value := range [][]byte{[]byte("first"), large, []byte("x")} {
		store(t, s, "a/b/c.key", value)
		if got := load(t, s, "a/b/c.key"); !bytes.Equal(got, value) {
			t.Fatalf("loaded %d bytes, stored %d", len(got), len(value))
		}
	}
	for _, key := range []string{"a", "a/b", "a/b/c.key"} {
		if !s.Exists(t.Context(), key) {
			t.Errorf("%s does not exist", key)
		}
	}
	if s.Exists(t.Context(), "a/b/c") {
		t.Error("the beginning of a name is taken for a folder")
	}
}

func remove(t *testing.T, open func() certmagic.Storage) {
	s := open()
	for _, key := range []string{"a/b/1", "a/b/2/3", "a/bc", "d"} {
		store(t, s, key, []byte(key))
	}
	if err := s.Delete(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"a/b/1": false, "a/b/2/3": false, "a/bc": true, "d": true} {
		if got := s.Exists(t.Context(), key); got != want {
			t.Errorf("after a/b was deleted, %s exists: %v", key, got)
		}
	}
	if err := s.Delete(t.Context(), "d"); err != nil || s.Exists(t.Context(), "d") {
		t.Errorf("d was not deleted: %v", err)
	}
}

func list(t *testing.T, open func() certmagic.Storage) {
	s := open()
	for _, key := range []string{"a/1", "a/2/3", "a/2/4/5", "ab"} {
		store(t, s, key, []byte(key))
	}
	for _, c := range []struct {
		prefix    string
		recursive bool
		want      []string
	}{
		{"a", false, []string{"a/1", "a/2"}},
		{"a/2", false, []string{"a/2/3", "a/2/4"}},
	} {
		keys, err := s.List(t.Context(), c.prefix, c.recursive)
		slices.Sort(keys)
		if err != nil || !slices.Equal(keys, c.want) {
			t.Errorf("List %s, recursive %v: %v, %v, want %v", c.prefix, c.recursive, keys, err, c.want)
		}
	}
	// Whether folders are among them is left to the backend.
	keys, err := s.List(t.Context(), "a", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a/1", "a/2/3", "a/2/4/5"} {
		if !slices.Contains(keys, want) {
			t.Errorf("%s is not among %v", want, keys)
		}
	}
	if slices.Contains(keys, "ab") {
		t.Errorf("ab is not below a: %v", keys)
	}
}

func stat(t *testing.T, open func() certmagic.Storage) {
	s := open()
	store(t, s, "a/b", []byte("four"))
	first, err := s.Stat(t.Context(), "a/b")
	if err != nil || first.Key != "a/b" || !first.IsTerminal || first.Size != 4 || first.Modified.IsZero() {
		t.Fatalf("%+v, %v", first, err)
	}
	// A value stored later, of the same size, can be told from the one before.
	await(t, "a later time of storing", func() bool {
		store(t, s, "a/b", []byte("FOUR"))
		second, err := s.Stat(t.Context(), "a/b")
		return err == nil && second.Modified.After(first.Modified)
	})
	if folder, err := s.Stat(t.Context(), "a"); err != nil || folder.IsTerminal {
		t.Errorf("folder: %+v, %v", folder, err)
	}
}

func torn(t *testing.T, open func() certmagic.Storage) {
	writer, reader := open(), open()
	value := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 1000+i*1000) }
	store(t, writer, "k", value(0))
	done := make(chan error, 1)
	go func() {
		for i := range 100 {
			if err := writer.Store(t.Context(), "k", value(i%5)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		got := load(t, reader, "k")
		if len(got) == 0 || !bytes.Equal(got, value(int(got[0]-'a'))) {
			t.Fatalf("read a value of %d bytes that nobody stored", len(got))
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}

func shared(t *testing.T, open func() certmagic.Storage) {
	a, b := open(), open()
	store(t, a, "k", []byte("1"))
	if got := load(t, b, "k"); string(got) != "1" {
		t.Errorf("the other handle reads %q", got)
	}
	store(t, b, "k", []byte("2"))
	if got := load(t, a, "k"); string(got) != "2" {
		t.Errorf("the first handle reads %q", got)
	}
}

func excludes(t *testing.T, open func() certmagic.Storage) {
	var inside, total int
	var mu sync.Mutex
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 4 {
		s := open()
		wg.Go(func() {
			for i := range 5 {
				if err := s.Lock(ctx, "l"); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				inside, total = inside+1, total+1
				if inside != 1 {
					t.Errorf("%d hold one lock", inside)
				}
				mu.Unlock()
				store(t, s, fmt.Sprint("k", i), nil) // takes a while
				mu.Lock()
				inside--
				mu.Unlock()
				if err := s.Unlock(ctx, "l"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if total != 20 {
		t.Errorf("the lock was taken %d times, want 20", total)
	}
}

func waits(t *testing.T, open func() certmagic.Storage) {
	a, b := open(), open()
	lock(t, a, "l")
	lock(t, b, "other") // does not wait
	got := make(chan error, 1)
	go func() { got <- b.Lock(t.Context(), "l") }()
	select {
	case err := <-got:
		t.Fatalf("the lock was given twice: %v", err)
	default:
	}
	if err := a.Unlock(t.Context(), "l"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-got:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("the lock was free, and nobody got it")
	}
}

func cancelled(t *testing.T, open func() certmagic.Storage) {
	a, b := open(), open()
	lock(t, a, "l")
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { got <- b.Lock(ctx, "l") }()
	cancel()
	select {
	case err := <-got:
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("%v, want context.Canceled", err)
		}
	case <-time.After(patience):
		t.Fatal("it waits on")
	}
	// What was begun can be given back after the context ended.
	if err := a.Unlock(ctx, "l"); err != nil {
		t.Fatal(err)
	}
	lock(t, b, "l")
}

func tries(t *testing.T, open func() certmagic.Storage) {
	a, ok := open().(certmagic.TryLocker)
	if !ok {
		return // certmagic does without
	}
	b := open()
	lock(t, b, "l")
	if taken, err := a.TryLock(t.Context(), "l"); taken || err != nil {
		t.Errorf("a taken lock: %v, %v", taken, err)
	}
	if err := b.Unlock(t.Context(), "l"); err != nil {
		t.Fatal(err)
	}
	await(t, "the lock", func() bool {
		taken, err := a.TryLock(t.Context(), "l")
		if err != nil {
			t.Fatal(err)
		}
		return taken
	})
}

func ended(t *testing.T, open func() certmagic.Storage) {
	s := open()
	store(t, s, "k", []byte("1"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, loadErr := s.Load(ctx, "k")
	_, listErr := s.List(ctx, "", true)
	for what, err := range map[string]error{
		"Store": s.Store(ctx, "k", []byte("2")), "Load": loadErr, "List": listErr, "Delete": s.Delete(ctx, "k"), "Lock": s.Lock(ctx, "l"),
	} {
		if err == nil {
			t.Errorf("%s works on after its context ended", what)
		}
	}
	if got := load(t, s, "k"); string(got) != "1" {
		t.Errorf("the value is %q", got)
	}
}

func names(t *testing.T, open func() certmagic.Storage) {
	s := open()
	for _, host := range []string{"*.example.com", "xn--bcher-kva.example", "a.example.com"} {
		key := certmagic.StorageKeys.SiteCert("acme.example-directory", host)
		store(t, s, key, []byte(host))
		if got := load(t, s, key); string(got) != host {
			t.Errorf("%s: %q", host, got)
		}
		lock(t, s, "issue_cert_"+host)
		if err := s.Unlock(t.Context(), "issue_cert_"+host); err != nil {
			t.Error(err)
		}
	}
}

func store(t *testing.T, s certmagic.Storage, key string, value []byte) {
	t.Helper()
	if err := s.Store(t.Context(), key, value); err != nil {
		t.Errorf("store %s: %v", key, err)
	}
}

func load(t *testing.T, s certmagic.Storage, key string) []byte {
	t.Helper()
	value, err := s.Load(t.Context(), key)
	if err != nil {
		t.Fatalf("load %s: %v", key, err)
	}
	return value
}

func lock(t *testing.T, s certmagic.Storage, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Lock(ctx, name); err != nil {
		t.Fatalf("lock %s: %v", name, err)
	}
}

// await tries until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("no %s in %v", what, patience)
		}
		<-time.After(time.Millisecond)
	}
}
