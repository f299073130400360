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
	return askIn(ctx, socket, method, path)
}

// askIn is ask for as long as ctx lasts.
func askIn(ctx context.Context, socket, method, path string) ([]byte, error) {
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

// work is what a process has to do for its clients; see [askWork].
type work struct {
	// connections of clients are open, those that are still in their listener
	// filters included.
	connections int
	// streams are connections that carry bytes, requests those that are being
	// received, served or upgraded.
	streams, requests int
	// unsent is how much of finished answers is still on its way to a client:
	// bytes of connections, streams of HTTP/2.
	unsent int
}

// idle says whether nobody would lose anything if the process ended now.
func (w work) idle() bool { return w.streams == 0 && w.requests == 0 && w.unsent == 0 }

// workStats are the gauges that a work is made of. A request of HTTP is over for
// its connection manager when its codec has all of the answer, which may be long
// before the client has.
const workStats = `^listener[.].*[.]downstream_(pre_)?cx_active$` +
	`|^http[.][^.]*[.]downstream_(cx_active|rq_active|cx_tx_bytes_buffered)$` +
	`|^http2[.](streams_active|pending_send_bytes)$`

// askWork asks what a process has to do; what it does for its admin interface is
// not counted. Each connection that is not one of a connection manager of HTTP
// carries bytes.
func askWork(socket string) (work, error) {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	var w work
	err := askStats(ctx, socket, workStats, func(name string, n int) {
		switch what := name[strings.LastIndexByte(name, '.')+1:]; {
		case what == "downstream_pre_cx_active":
			w.connections += n
		case what == "downstream_cx_active" && strings.HasPrefix(name, "http."):
			w.streams -= n
		case what == "downstream_cx_active":
			w.connections += n
			w.streams += n
		case what == "downstream_rq_active":
			w.requests += n
		default:
			w.unsent += n
		}
	})
	return w, err
}

// askStats asks for the stats whose names fit a pattern; those of the admin
// interface and of single worker threads are left out.
func askStats(ctx context.Context, socket, pattern string, each func(name string, value int)) error {
	body, err := askIn(ctx, socket, http.MethodGet, "/stats?filter="+url.QueryEscape(pattern))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(body)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || strings.HasPrefix(name, "listener.admin.") || strings.HasPrefix(name, "http.admin.") || strings.Contains(name, ".worker_") {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("read envoy's %s: %w", name, err)
		}
		each(name, n)
	}
	return nil
}
