package envoytest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience bounds the start of an Envoy on a busy machine.
const patience = 60 * time.Second

// Start runs the real Envoy with a static configuration in JSON until the test
// ends, and returns the addresses of its listeners by name once there are as
// many as wanted. The configuration has an admin address with port 0.
func Start(t testing.TB, config []byte, listeners int) map[string]string {
	t.Helper()
	dir := t.TempDir()
	file, admin := filepath.Join(dir, "envoy.json"), filepath.Join(dir, "admin")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var logs strings.Builder
	cmd := exec.CommandContext(ctx, Binary(t), "-c", file, "--admin-address-path", admin,
		"--disable-hot-restart", "--concurrency", "1", "-l", "error")
	cmd.Stdout, cmd.Stderr = &logs, &logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var failure error
	ended := make(chan struct{})
	go func() {
		failure = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})

	for deadline := time.Now().Add(patience); ; {
		addresses := listening(admin)
		if len(addresses) == listeners {
			return addresses
		}
		select {
		case <-ended:
			t.Fatalf("envoy ended: %v\n%.4000s", failure, logs.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("envoy listens on %v only", addresses)
		}
	}
}

// listening asks the admin server, whose address is in a file, for the
// addresses of the listeners by name; nil as long as it cannot.
func listening(adminFile string) map[string]string {
	admin, err := os.ReadFile(adminFile)
	if err != nil {
		return nil
	}
	resp, err := http.Get("http://" + string(admin) + "/listeners?format=json")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var body struct {
		Statuses []struct {
			Name  string `json:"name"`
			Local struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if json.NewDecoder(resp.Body).Decode(&body) != nil {
		return nil
	}
	out := map[string]string{}
	for _, l := range body.Statuses {
		out[l.Name] = fmt.Sprintf("%s:%d", l.Local.Socket.Address, l.Local.Socket.Port)
	}
	return out
}
