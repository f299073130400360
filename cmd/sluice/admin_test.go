package main

import (
	"os"
	"testing"
)

func TestAdminToken(t *testing.T) {
	dir := t.TempDir()
	have := func() string {
		t.Helper()
		token, err := adminToken(dir)
		if err != nil || len(token) < 20 {
			t.Fatalf("%q %v", token, err)
		}
		st, err := os.Stat(tokenFile(dir))
		if err != nil || st.Mode() != 0o600 {
			t.Errorf("the file is %v %v", st.Mode(), err)
		}
		return token
	}
	first := have()
	if again := have(); again != first {
		t.Error("a restart changes the token")
	}
	if err := os.Chmod(tokenFile(dir), 0o640); err != nil {
		t.Fatal(err)
	}
	second := have()
	if second == first {
		t.Error("a token that others could read is kept")
	}
	if err := os.WriteFile(tokenFile(dir), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if have() == second {
		t.Error("an empty token is none")
	}
	if err := os.Remove(tokenFile(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", tokenFile(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := adminToken(dir); err == nil {
		t.Error("a link is followed")
	}
}

func TestListensOn(t *testing.T) {
	for _, c := range []struct {
		listening, asked string
		want             bool
	}{
		{"127.0.0.1:9900", "127.0.0.1:9900", true},
		{"127.0.0.1:9900", "localhost:9900", true},
		{"127.0.0.1:9900", "127.0.0.1:9901", false},
		{"127.0.0.1:9900", "127.0.0.2:9900", false},
		{"127.0.0.1:9900", "[::1]:9900", false},
		{"127.0.0.1:9900", "gateway.test:9900", false},
		{"[::]:9900", "127.0.0.1:9900", true},
		{"[::]:9900", "localhost:9900", true},
		{"[::]:9900", "192.0.2.1:9900", false},
		{"0.0.0.0:9900", "0.0.0.0:9900", true},
		{"192.0.2.1:9900", "localhost:9900", false},
		{"", "127.0.0.1:9900", false},
		{"127.0.0.1:9900", "9900", false},
	} {
		if got := listensOn(c.listening, c.asked); got != c.want {
			t.Errorf("listening on %s, asked for %s: %v", c.listening, c.asked, got)
		}
	}
}
