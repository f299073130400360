package storage_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/caddyserver/certmagic"

	"github.com/sluicegw/sluice/tls/acme/storage"
	"github.com/sluicegw/sluice/tls/acme/storagetest"
)

// holderDir is set in the environment of the process that holds a lock.
const holderDir = "SLUICE_TEST_LOCK_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holderDir); dir != "" {
		if err := storage.NewFile(dir).Lock(context.Background(), "issue"); err != nil {
			panic(err)
		}
		os.Stdout.WriteString("locked\n")
		select {}
	}
	os.Exit(m.Run())
}

func TestFileKeepsTheContract(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) func() certmagic.Storage {
		dir := t.TempDir()
		return func() certmagic.Storage { return storage.NewFile(dir) }
	})
}

func TestFileLockEndsWithItsHolder(t *testing.T) {
	dir := t.TempDir()
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), holderDir+"="+dir)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the holder said %q: %v", line, err)
	}
	mine := storage.NewFile(dir)
	if taken, err := mine.TryLock(t.Context(), "issue"); taken || err != nil {
		t.Fatalf("a lock that another process holds: taken %v, error %v", taken, err)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	if taken, err := mine.TryLock(t.Context(), "issue"); !taken || err != nil {
		t.Fatalf("the lock of a dead process: taken %v, error %v", taken, err)
	}
	if err := mine.Unlock(t.Context(), "issue"); err != nil {
		t.Fatal(err)
	}
}

func TestFileIsReadableByItsOwnerOnly(t *testing.T) {
	dir := t.TempDir() + "/store"
	if err := storage.NewFile(dir).Store(t.Context(), "a/b.key", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{"": 0o700, "/a": 0o700, "/a/b.key": 0o600} {
		info, err := os.Stat(dir + path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %q is %v, want %v", path, got, want)
		}
	}
}
