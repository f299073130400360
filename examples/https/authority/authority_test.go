package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicegw/sluice/test/envoytest"
)

func TestFaults(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	good := file("good.json", fmt.Sprintf(`{"pebble": {"listenAddress": %q, "managementListenAddress": "127.0.0.1:0",
		"certificate": "directory.pem", "privateKey": "directory.key"}}`, taken.Addr()))
	for _, c := range []struct {
		name, from string // folder that it is started in
		args       []string
		code       int
		says       string
	}{
		{"no flags", ".", nil, 2, "--config FILE and --dir FOLDER"},
		{"more than flags", ".", []string{"--config", good, "--dir", dir, "more"}, 2, "nothing else"},
		{"help", ".", []string{"--help"}, 0, "root.pem"},
		{"no configuration", ".", []string{"--config", dir + "/none.json", "--dir", dir}, 2, "none.json"},
		{"no JSON", ".", []string{"--config", file("bad.json", "{"), "--dir", dir}, 2, "bad.json"},
		{"no address", ".", []string{"--config", file("empty.json", `{"pebble": {}}`), "--dir", dir}, 2, "listenAddress"},
		{"no programs", ".", []string{"--config", good, "--dir", dir}, 1, "make tools"},
		{"a port that is taken", "../../..", []string{"--config", good, "--dir", dir}, 1, "pebble has ended"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(c.from)
			t.Setenv("PATH", dir)
			var said envoytest.Output
			if code := run(context.Background(), c.args, streams{&said, &said}); code != c.code || !strings.Contains(said.String(), c.says) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, c.code, c.says, &said)
			}
		})
	}
}

// An end before everything is ready leaves nothing behind that runs.
func TestEnd(t *testing.T) {
	t.Chdir("../../..")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var said envoytest.Output
	if code := run(ctx, []string{"--config", "examples/https/pebble.json", "--dir", t.TempDir()}, streams{&said, &said}); code != 0 {
		t.Errorf("exit code %d:\n%s", code, &said)
	}
}
