package ticket_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/sluicegw/sluice/test/envoytest"
	"github.com/sluicegw/sluice/tls/ticket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func keysOf(t *testing.T, r *ticket.Rotation) [][]byte {
	t.Helper()
	keys, err := r.Keys()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// has returns the place of a key, -1 if it is not there.
func has(keys [][]byte, key []byte) int {
	for i, k := range keys {
		if bytes.Equal(k, key) {
			return i
		}
	}
	return -1
}

func same(a, b [][]byte) bool { return bytes.Equal(bytes.Join(a, nil), bytes.Join(b, nil)) }

// started runs a rotation inside of a synctest bubble.
type started struct {
	stop context.CancelFunc
	out  chan [][]byte
	done chan error
}

func start(t *testing.T, r *ticket.Rotation) started {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := started{cancel, make(chan [][]byte), make(chan error, 1)}
	go func() { s.done <- r.Run(ctx, s.out) }()
	return s
}

func (s started) end(t *testing.T) {
	t.Helper()
	s.stop()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
}

// The life of a key: it decrypts for one interval, encrypts for one, decrypts
// for as many as it is kept, and is gone.
func TestLifeOfAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every, keep, rounds = time.Hour, 3, 8
		r := ticket.New(ticket.Options{Dir: t.TempDir(), Every: every, Keep: keep})
		history := [][][]byte{keysOf(t, r)}
		s := start(t, r)
		began := time.Now()
		for i := range rounds {
			history = append(history, <-s.out)
			if at := time.Since(began); at != time.Duration(i+1)*every {
				t.Errorf("exchange %d is after %v", i+1, at)
			}
		}
		s.end(t)
		if n := len(history[0]); n != 2 {
			t.Errorf("%d keys at the start", n)
		}
		for i, keys := range history {
			for _, k := range keys {
				if len(k) != ticket.KeyBytes {
					t.Errorf("a key of %d bytes", len(k))
				}
			}
			if want := min(2+i, 2+keep); len(keys) != want {
				t.Errorf("%d keys after %d exchanges, want %d", len(keys), i, want)
			}
			if i == 0 {
				continue
			}
			newest := keys[1]
			if has(history[i-1], newest) >= 0 {
				t.Errorf("exchange %d brings no new key", i)
			}
			places := []int{1, 0, 2, 3, 4, -1, -1, -1}
			for j := i; j < len(history); j++ {
				if got := has(history[j], newest); got != places[j-i] {
					t.Errorf("the key of exchange %d is in place %d after %d, want %d", i, got, j, places[j-i])
				}
			}
		}
	})
}

// Processes of one folder always have the same keys, and whatever encrypts in
// one was in all before.
func TestProcessesShareAFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var all []started
		var before [][]byte
		for range 3 {
			r := ticket.New(ticket.Options{Dir: dir, Every: 10 * time.Minute})
			keys := keysOf(t, r)
			if before != nil && !same(keys, before) {
				t.Error("two processes begin with different keys")
			}
			before = keys
			all = append(all, start(t, r))
		}
		for range 6 {
			first := <-all[0].out
			for _, s := range all[1:] {
				if got := <-s.out; !same(got, first) {
					t.Error("two processes have different keys")
				}
			}
			if has(before, first[0]) < 0 {
				t.Error("a key encrypts that was not distributed")
			}
			if len(first) > 2 && has(before, first[1]) >= 0 {
				t.Error("an exchange made no key")
			}
			before = first
		}
		for _, s := range all {
			s.end(t)
		}
	})
}

// Many that begin at once on an empty folder agree.
func TestBeginningTogether(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	var wg sync.WaitGroup
	got := make([][][]byte, 8)
	for i := range got {
		wg.Go(func() {
			keys, err := ticket.New(ticket.Options{Dir: dir}).Keys()
			if err != nil {
				t.Error(err)
			}
			got[i] = keys
		})
	}
	wg.Wait()
	for _, keys := range got {
		if !same(keys, got[0]) {
			t.Error("two have different keys")
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "tickets.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", info.Mode(), err)
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 2 {
		t.Errorf("the folder has %v, %v", list, err)
	}
}

func TestAfterAPause(t *testing.T) {
	for _, c := range []struct {
		pause  time.Duration
		kept   int // of the two keys before
		second int // place of the key that was to encrypt next, -1 if dropped
		count  int
	}{
		{30 * time.Minute, 2, 1, 2},
		{time.Hour, 2, 0, 3},
		{3 * time.Hour, 2, 0, 3},
		{4 * time.Hour, 1, 2, 3}, // one is too old, the other only decrypts
		{100 * time.Hour, 0, -1, 2},
	} {
		t.Run(c.pause.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				before := keysOf(t, ticket.New(ticket.Options{Dir: dir}))
				<-time.After(c.pause)
				keys := keysOf(t, ticket.New(ticket.Options{Dir: dir}))
				kept := 0
				for _, k := range before {
					if has(keys, k) >= 0 {
						kept++
					}
				}
				if got := has(keys, before[1]); kept != c.kept || got != c.second || len(keys) != c.count {
					t.Errorf("kept are %d, the next is in place %d of %d; want %d, %d, %d", kept, got, len(keys), c.kept, c.second, c.count)
				}
			})
		})
	}
}

// file returns the text of a file of keys.
func file(t *testing.T, created ...time.Time) []byte {
	t.Helper()
	type key struct {
		Created time.Time `json:"created"`
		Key     []byte    `json:"key"`
	}
	var keys []key
	for i, at := range created {
		keys = append(keys, key{at, bytes.Repeat([]byte{byte(i + 65)}, ticket.KeyBytes)})
	}
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestFileThatCannotBeUsed(t *testing.T) {
	now := time.Now()
	good := file(t, now, now)
	for _, c := range []struct {
		name string
		text []byte
		want string // in the log, "" if the file is good
	}{
		{"good", good, ""},
		{"empty", nil, "not JSON of the right shape"},
		{"half", good[:len(good)-9], "not JSON of the right shape"},
		{"a short key", bytes.Replace(good, []byte("QUFB"), nil, 1), "key 1 has 77 bytes and needs 80"},
		{"one key", file(t, now), "it has 1 keys and needs two"},
		{"out of order", file(t, now, now.Add(time.Second)), "key 2 is newer than the one before"},
		{"from the future", file(t, now.Add(2*time.Hour), now), "its keys are from the future"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, log := t.TempDir(), &envoytest.Output{}
			path := filepath.Join(dir, "tickets.json")
			if err := os.WriteFile(path, c.text, 0o600); err != nil {
				t.Fatal(err)
			}
			r := ticket.New(ticket.Options{Dir: dir, Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(log, nil))})
			keys := keysOf(t, r)
			old := has(keys, bytes.Repeat([]byte("A"), ticket.KeyBytes)) >= 0
			if renewed := c.want != ""; len(keys) != 2 || old == renewed {
				t.Errorf("%d keys, an old one among them: %v", len(keys), old)
			}
			if n := strings.Count(log.String(), "level=WARN"); c.want == "" && n != 0 || c.want != "" && (n != 1 || !strings.Contains(log.String(), c.want)) {
				t.Errorf("logged is %s", log)
			}
			for _, k := range append(keys, bytes.Repeat([]byte("A"), 9), bytes.Repeat([]byte("B"), 9)) {
				for _, form := range []string{string(k[:9]), base64.StdEncoding.EncodeToString(k[:9])} {
					if strings.Contains(log.String()+fmt.Sprintf("%v %+v %#v", r, r, r), form) {
						t.Errorf("%q is printed", form)
					}
				}
			}
			if again := keysOf(t, ticket.New(ticket.Options{Dir: dir, Now: func() time.Time { return now }})); !same(again, keys) {
				t.Error("another process has different keys")
			}
		})
	}
}

func TestFileThatOthersCouldRead(t *testing.T) {
	dir, log := t.TempDir(), &envoytest.Output{}
	path := filepath.Join(dir, "tickets.json")
	if err := os.WriteFile(path, file(t, time.Now(), time.Now().Add(-time.Minute)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	r := ticket.New(ticket.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(log, nil))})
	keysOf(t, r)
	keysOf(t, r)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
	if n := strings.Count(log.String(), "could be read by others"); n != 1 {
		t.Errorf("logged %d times: %s", n, log)
	}
}

// A folder that cannot be used does not end the process; once it can be, all
// goes on.
func TestFolderThatCannotBeUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, log := filepath.Join(t.TempDir(), "keys"), &envoytest.Output{}
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r := ticket.New(ticket.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(log, nil))})
		if _, err := r.Keys(); err == nil {
			t.Error("a file is taken for a folder")
		}
		s := start(t, r)
		synctest.Wait()
		if !strings.Contains(log.String(), "the last ones stay") {
			t.Errorf("logged is %s", log)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		if keys := <-s.out; len(keys) != 2 {
			t.Errorf("%d keys", len(keys))
		}
		s.end(t)
	})
}

// Who holds the lock is waited for, but not for ever.
func TestLockedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f, err := os.Create(filepath.Join(dir, "tickets.lock"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		r := ticket.New(ticket.Options{Dir: dir})
		if _, err := r.Keys(); !errors.Is(err, syscall.EWOULDBLOCK) {
			t.Errorf("got %v", err)
		}
		s := start(t, r)
		synctest.Wait() // it waits for the lock
		s.end(t)
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_UN); err != nil {
			t.Fatal(err)
		}
		keysOf(t, r)
	})
}

// A removed file gives new keys to everybody within a minute.
func TestRemovedFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := ticket.New(ticket.Options{Dir: dir})
		before := keysOf(t, r)
		s := start(t, r)
		synctest.Wait()
		if err := os.Remove(filepath.Join(dir, "tickets.json")); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if keys := <-s.out; has(keys, before[0]) >= 0 || has(keys, before[1]) >= 0 {
			t.Error("old keys are still there")
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("took %v", took)
		}
		s.end(t)
	})
}

func TestWithoutRandomness(t *testing.T) {
	dir := t.TempDir()
	r := ticket.New(ticket.Options{Dir: dir, Rand: iotest.ErrReader(errors.New("no luck"))})
	if _, err := r.Keys(); err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tickets.json")); err == nil {
		t.Error("a file was written")
	}
}
