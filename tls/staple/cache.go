package staple

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"
)

// suffix is how the files of responses end.
const suffix = ".ocsp"

// cache is a folder with responses, named by their certificates. What is read
// from it is verified like what comes from a responder.
type cache struct{ dir string }

func (c cache) path(cert issued) string { return filepath.Join(c.dir, cert.digest()+suffix) }

// load returns the response about a certificate, nil if there is none.
func (c cache) load(cert issued) []byte {
	if c.dir == "" {
		return nil
	}
	der, err := readBounded(c.path(cert))
	if err != nil {
		return nil // as good as none
	}
	return der
}

// save replaces the response about a certificate at once.
func (c cache) save(cert issued, der []byte) error {
	if c.dir == "" {
		return nil
	}
	f, err := os.CreateTemp(c.dir, "*"+suffix+".tmp")
	if err != nil {
		return fmt.Errorf("write response: %w", err)
	}
	_, err = f.Write(der)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), c.path(cert))
	}
	if err != nil {
		_ = os.Remove(f.Name()) // nobody reads it
		return fmt.Errorf("write response: %w", err)
	}
	return nil
}

// remove forgets the response about a certificate.
func (c cache) remove(cert issued) {
	if c.dir != "" {
		_ = os.Remove(c.path(cert)) // one that stays is verified before it is used
	}
}

// prune makes the folder and removes the responses in it that have expired or
// cannot be read, and files that were never finished.
func (c cache) prune(now time.Time) error {
	if c.dir == "" {
		return nil
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of staples: %w", err)
	}
	list, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("read the folder of staples: %w", err)
	}
	for _, f := range list {
		name := filepath.Join(c.dir, f.Name())
		if strings.HasSuffix(name, suffix+".tmp") && olderThan(f, now.Add(-time.Hour)) || strings.HasSuffix(name, suffix) && expired(name, now) {
			_ = os.Remove(name) // the next start tries again
		}
	}
	return nil
}

func olderThan(f fs.DirEntry, at time.Time) bool {
	info, err := f.Info()
	return err == nil && info.ModTime().Before(at)
}

// expired reports whether the file is of no use. Who signed it is not asked yet.
func expired(name string, now time.Time) bool {
	der, err := readBounded(name)
	if err != nil {
		return false // perhaps it can be read again one day
	}
	r, err := ocsp.ParseResponse(der, nil)
	return err != nil || !now.Before(r.NextUpdate)
}

func readBounded(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxBytes {
		return nil, fmt.Errorf("%s is no response", name)
	}
	return os.ReadFile(name)
}
