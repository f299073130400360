package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/console"
)

// adminAccess is where the admin API is asked: by anybody who reaches the address,
// and by the owner over the socket or with the token, who may also act.
type adminAccess struct {
	tcp, unix net.Listener
	token     string
}

func (a adminAccess) access(o runOptions) console.Access {
	names := slices.Clone(o.adminHosts)
	if host, _, err := net.SplitHostPort(o.admin); err == nil && net.ParseIP(host) == nil {
		names = append(names, host)
	}
	return console.Access{
		Names: names, Token: a.token, Address: a.tcp.Addr().String(),
		Remedy: fmt.Sprintf("use `--admin unix:%s` as the user who runs sluice, or send the content of %s as `Authorization: Bearer …` ($SLUICE_ADMIN_TOKEN)",
			a.unix.Addr(), tokenFile(o.dataDir)),
	}
}

// adminSocket is the unix socket of the admin API of a data directory.
func adminSocket(dataDir string) string { return filepath.Join(dataDir, "admin.sock") }

func tokenFile(dataDir string) string { return filepath.Join(dataDir, "admin.token") }

// adminToken returns the token that a data directory holds. One that others could
// have read is replaced.
func adminToken(dataDir string) (string, error) {
	path := tokenFile(dataDir)
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", fmt.Errorf("read the token of the admin API: %w", err)
	case !st.Mode().IsRegular():
		return "", fmt.Errorf("read the token of the admin API: %s is no plain file; remove it", path)
	case st.Mode().Perm()&0o077 == 0:
		b, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read the token of the admin API: %w", err)
		}
		if token := strings.TrimSpace(string(b)); token != "" {
			return token, nil
		}
	}
	token := rand.Text()
	if err := writeToken(path, token); err != nil {
		return "", fmt.Errorf("write the token of the admin API to the data directory %s: %w; make room there and let it be written to", dataDir, err)
	}
	return token, nil
}

// writeToken puts a token in place as a whole, or leaves what is there.
func writeToken(path, token string) error {
	next := path + ".new"
	if err := ignoreGone(os.Remove(next)); err != nil {
		return err
	}
	if err := os.WriteFile(next, []byte(token+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
