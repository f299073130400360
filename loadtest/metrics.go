package loadtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// sample is one line of the Prometheus text format.
type sample struct {
	name   string
	series string // name with labels, as written
	value  float64
}

// samples is a scrape.
type samples []sample

// parseSamples reads the Prometheus text format. Comments and timestamps are
// passed over.
func parseSamples(r io.Reader) (samples, error) {
	var out samples
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		line := strings.TrimSpace(in.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := parseSample(line)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read samples: %w", err)
	}
	return out, nil
}

// parseSample reads `name{label="a } b"} 12 1700000000`.
func parseSample(line string) (sample, error) {
	end := strings.IndexByte(line, ' ')
	name := line[:max(end, 0)]
	if brace := strings.IndexByte(line, '{'); brace >= 0 && (end < 0 || brace < end) {
		closing := labelsEnd(line[brace:])
		if closing < 0 {
			return sample{}, fmt.Errorf("parse sample %q: labels never end", line)
		}
		name, end = line[:brace], brace+closing+1
	}
	if name == "" {
		return sample{}, fmt.Errorf("parse sample %q: no name and value", line)
	}
	fields := strings.Fields(line[end:])
	if len(fields) == 0 {
		return sample{}, fmt.Errorf("parse sample %q: no value", line)
	}
	v, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		return sample{}, fmt.Errorf("parse sample %q: %w", line, err)
	}
	return sample{name, line[:end], v}, nil
}

// labelsEnd returns the index of the brace that closes the first one of s, not
// counting those inside quotes; -1 if there is none.
func labelsEnd(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '}' && !quoted:
			return i
		}
	}
	return -1
}

// sum adds up every series of a name; ok is false when there is none.
func (s samples) sum(name string) (total float64, ok bool) {
	for _, x := range s {
		if x.name == name {
			total, ok = total+x.value, true
		}
	}
	return total, ok
}

// fetch returns the body of a GET, or an error for anything but 200.
func fetch(ctx context.Context, url string) (io.ReadCloser, error) {
	return fetchWith(ctx, http.DefaultClient, url)
}

// fetchUnix is [fetch] at a unix socket.
func fetchUnix(ctx context.Context, socket, path string) (io.ReadCloser, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	return fetchWith(ctx, client, "http://envoy"+path)
}

func fetchWith(ctx context.Context, client *http.Client, url string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", url, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("get %s: answered %d", url, resp.StatusCode)
	}
	return resp.Body, nil
}

// scrape fetches and parses samples.
func scrape(ctx context.Context, url string) (samples, error) {
	body, err := fetch(ctx, url)
	if err != nil {
		return nil, err
	}
	s, err := parseSamples(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return nil, fmt.Errorf("scrape %s: %w", url, err)
	}
	return s, nil
}
