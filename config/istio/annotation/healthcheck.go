package annotation

import (
	"strconv"
	"strings"
	"time"

	"github.com/sluicegw/sluice/model"
)

// The bounds of a health check, and its defaults.
const (
	minProbeInterval = 100 * time.Millisecond
	maxProbeInterval = time.Hour
	maxProbeCount    = 100

	probeInterval  = 5 * time.Second
	probeTimeout   = time.Second
	probeHealthy   = 2
	probeUnhealthy = 3
)

// ParseHealthCheck reads how the endpoints of a service are probed. Words stand
// between spaces; the first says how, the others change a default:
//
//	http:///healthz interval=5s timeout=1s healthy=2 unhealthy=3 host=x.example.com
//	tcp interval=10s
//
// "http://" and a path asks by HTTP and wants status 200; "tcp" only connects.
// interval is the pause between probes, timeout how long an answer may take,
// healthy and unhealthy how many answers in a row change the verdict, host the
// authority of the request (HTTP only; the service's host when not given). With
// any fault there is no check at all.
func ParseHealthCheck(text string) (*model.HealthCheck, []string) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil, []string{`the health check is empty; write "http:///path" or "tcp"`}
	}
	out := &model.HealthCheck{
		Interval: probeInterval, Timeout: probeTimeout, Healthy: probeHealthy, Unhealthy: probeUnhealthy,
	}
	var faults []string
	complain := func(message string) {
		if message != "" {
			faults = append(faults, message+"; the endpoints are not probed until then")
		}
	}
	if path, http := strings.CutPrefix(words[0], "http://"); http && isPath(path) {
		out.Path = path
	} else if words[0] != "tcp" {
		complain(quote(words[0]) + ` is no way to probe; write "http://" and a path with its slash, or "tcp"`)
	}
	seen := map[string]bool{}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		if seen[key] {
			complain(quote(key) + " is given twice; keep one of them")
		}
		seen[key] = true
		complain(setProbe(out, key, value))
	}
	if out.Host != "" && out.Path == "" && words[0] == "tcp" {
		complain("host is for http only; remove it")
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return out, nil
}

// setProbe sets one word of a health check and returns what is wrong with it.
func setProbe(out *model.HealthCheck, key, value string) string {
	switch key {
	case "interval":
		return setDuration(&out.Interval, key, value)
	case "timeout":
		return setDuration(&out.Timeout, key, value)
	case "healthy":
		return setCount(&out.Healthy, key, value)
	case "unhealthy":
		return setCount(&out.Unhealthy, key, value)
	case "host":
		out.Host = strings.ToLower(value)
		if !isHost(out.Host) {
			return "host=" + quote(value) + " is no host; write a DNS name"
		}
		return ""
	}
	return quote(key) + " is not known here; write interval, timeout, healthy, unhealthy or host, each with an equals sign"
}

func setDuration(target *time.Duration, key, value string) string {
	d, err := time.ParseDuration(value)
	if err != nil || d < minProbeInterval || d > maxProbeInterval {
		return key + "=" + quote(value) + ` is out of range; write a duration from "100ms" to "1h"`
	}
	*target = d
	return ""
}

func setCount(target *uint32, key, value string) string {
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil || n == 0 || n > maxProbeCount {
		return key + "=" + quote(value) + " is out of range; write a number from 1 to 100"
	}
	*target = uint32(n)
	return ""
}

// isPath reports whether s is a path, perhaps with a query, that a request may
// carry.
func isPath(s string) bool {
	if !strings.HasPrefix(s, "/") {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '#' {
			return false
		}
	}
	return true
}

func isHost(s string) bool {
	return s != "" && len(s) <= 261 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.:[]") == ""
}
