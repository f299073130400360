package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// adminTimeout bounds the supervisor's own questions.
const adminTimeout = 5 * time.Second

// adminCall sends one request over a connection of its own, so that nothing
// stays open to an epoch that ends.
func adminCall(ctx context.Context, socket, method, path string) (*http.Response, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://envoy"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask envoy: %w", err)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask envoy %s %s: %w", method, path, err)
	}
	return res, nil
}

// ask makes a call, wants 200 and returns the body.
func ask(socket, method, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	res, err := adminCall(ctx, socket, method, path)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil {
		return nil, fmt.Errorf("ask envoy %s %s: %w", method, path, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask envoy %s %s: %s: %s", method, path, res.Status, firstLine(string(body)))
	}
	return body, nil
}

// serverInfo is the part of /server_info that matters here.
type serverInfo struct {
	// Version is "<commit>/1.40.0/Clean/RELEASE/BoringSSL".
	Version string `json:"version"`
	// State is LIVE once the first configuration is in.
	State      string `json:"state"`
	HotRestart string `json:"hot_restart_version"`
}

func askServerInfo(socket string) (serverInfo, error) {
	var info serverInfo
	body, err := ask(socket, http.MethodGet, "/server_info")
	if err != nil {
		return info, err
	}
	if err := json.Unmarshal(body, &info); err != nil {
		return info, fmt.Errorf("read envoy's server info: %w", err)
	}
	info.Version, _ = parseVersion("version: " + info.Version)
	return info, nil
}

// connectionStats are the gauges of open connections of all listeners,
// connections that are still in their listener filters included.
const connectionStats = `^listener[.].*[.]downstream_(pre_)?cx_active$`

// askConnections counts the open connections of clients; those to the admin
// interface are not any.
func askConnections(socket string) (int, error) {
	body, err := ask(socket, http.MethodGet, "/stats?filter="+url.QueryEscape(connectionStats))
	if err != nil {
		return 0, err
	}
	total := 0
	for line := range strings.Lines(string(body)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		// Each connection also shows in the gauge of its worker thread.
		if !ok || strings.HasPrefix(name, "listener.admin.") || strings.Contains(name, ".worker_") {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return 0, fmt.Errorf("read envoy's %s: %w", name, err)
		}
		total += n
	}
	return total, nil
}
