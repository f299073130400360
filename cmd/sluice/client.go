package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sluicegw/sluice/console"
)

const defaultAdmin = "127.0.0.1:9900"

func adminFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "admin", Value: defaultAdmin, EnvVars: []string{"SLUICE_ADMIN"},
		Usage: "`ADDR` of the admin API of a running sluice: host:port, or unix:PATH of the socket admin.sock in its data directory",
	}
}

// adminPatience bounds a question to a running Sluice.
const adminPatience = 10 * time.Second

// unixPrefix begins the address of an admin API on a unix socket.
const unixPrefix = "unix:"

// askAdmin asks a running Sluice and returns the body of its answer. What it
// refuses is an error in its own words.
func askAdmin(ctx context.Context, method, admin, path string) ([]byte, error) {
	socket, isUnix := strings.CutPrefix(admin, unixPrefix)
	if !isUnix {
		socket = ownSocket(ctx, admin)
	} else if len(socket) > longestSocket {
		return nil, fmt.Errorf("ask %s: the path is too long for a unix socket; reach it by a shorter one, through a link for example", admin)
	}
	client, base := http.DefaultClient, "http://"+admin
	if socket != "" {
		client, base = overSocket(socket), "http://sluice"
		defer client.CloseIdleConnections()
	}
	resp, err := request(ctx, client, method, base+path)
	if errors.Is(err, syscall.ECONNREFUSED) || isUnix && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no sluice answers on %s; is `sluice run` running, and with the same --admin?", admin)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", admin, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", admin, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s: %s", admin, resp.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

func request(ctx context.Context, client *http.Client, method, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	if token := os.Getenv("SLUICE_ADMIN_TOKEN"); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return client.Do(req)
}

// overSocket returns a client whose every connection is to a unix socket.
func overSocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
}

// socketPatience bounds the question whose a socket is.
const socketPatience = time.Second

// ownSocket returns the unix socket of the Sluice of this user that listens on an
// address, "" if there is none: over it, more is allowed. The socket may be left
// over by a process that was killed, or belong to one with another address.
func ownSocket(ctx context.Context, admin string) string {
	dir := os.Getenv("SLUICE_DATA_DIR")
	if dir == "" {
		var err error
		if dir, err = defaultDataDir(admin); err != nil {
			return ""
		}
	}
	ctx, cancel := context.WithTimeout(ctx, socketPatience)
	defer cancel()
	client := overSocket(adminSocket(dir))
	defer client.CloseIdleConnections()
	resp, err := request(ctx, client, http.MethodGet, "http://sluice/livez")
	if err != nil {
		return ""
	}
	resp.Body.Close()
	if !listensOn(resp.Header.Get(console.AddressHeader), admin) {
		return ""
	}
	return adminSocket(dir)
}

// listensOn reports whether a client that asks for an address of this machine
// reaches who listens on another: the same, or all of them.
func listensOn(listening, asked string) bool {
	at, err := netip.ParseAddrPort(listening)
	if err != nil {
		return false
	}
	host, port, err := net.SplitHostPort(asked)
	if err != nil || port != fmt.Sprint(at.Port()) {
		return false
	}
	here := at.Addr().Unmap()
	if host == "localhost" {
		return here.IsLoopback() || here.IsUnspecified()
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.Unmap() == here || here.IsUnspecified() && ip.IsLoopback())
}

// fetchStatus asks a running Sluice for its status.
func fetchStatus(ctx context.Context, admin string) (statusDocument, error) {
	var doc statusDocument
	ctx, cancel := context.WithTimeout(ctx, adminPatience)
	defer cancel()
	body, err := askAdmin(ctx, http.MethodGet, admin, "/status")
	if err != nil {
		return doc, err
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return doc, fmt.Errorf("read the status of %s: %w; is that a sluice?", admin, err)
	}
	return doc, nil
}
