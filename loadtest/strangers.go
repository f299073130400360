package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// strangerSuffix ends every name that no host has.
const strangerSuffix = ".stranger.test"

// strange asks for options.Names random names that no host has, and measures how
// fast each is refused and what stays of them.
func (l *lab) strange(ctx context.Context, w *secureWorld) (measures, error) {
	before, err := l.withMemory(measures{})
	if err != nil {
		return nil, err
	}
	refused, accepted := w.askStrangers(ctx, l.options.Names)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m, err := l.withMemory(refused.measures(""))
	if err != nil {
		return nil, err
	}
	m["growth_mb"] = m["envoy_rss_mb"] - before["envoy_rss_mb"]
	m["sluice_growth_mb"] = m["sluice_rss_mb"] - before["sluice_rss_mb"]
	m["wrong"] = float64(accepted)
	secrets, err := l.secrets(ctx)
	if err != nil {
		return nil, err
	}
	m["secrets"] = float64(strings.Count(secrets, "SecretsConfigDump.DynamicSecret"))
	m["kept"] = float64(strings.Count(secrets, strangerSuffix))
	return m, nil
}

// askStrangers returns how long refusals took, and how many names were not
// refused.
func (w *secureWorld) askStrangers(ctx context.Context, names int) (refused *histogram, accepted int) {
	const workers = 4
	var wg sync.WaitGroup
	times, wrong := make([]*histogram, workers), make([]int, workers)
	for n := range workers {
		times[n] = newHistogram()
		wg.Go(func() {
			pick := rand.New(rand.NewPCG(4, uint64(n)))
			for i := n; i < names && ctx.Err() == nil; i += workers {
				began := time.Now()
				if _, err := w.shown(ctx, fmt.Sprintf("x%016x%s", pick.Uint64(), strangerSuffix)); err == nil {
					wrong[n]++
				}
				times[n].add(time.Since(began))
			}
		})
	}
	wg.Wait()
	refused = newHistogram()
	for n := range workers {
		refused.merge(times[n])
		accepted += wrong[n]
	}
	return refused, accepted
}

// secrets returns the dump of the secrets that Envoy holds and of those that it
// waits for. It comes from the socket in the data folder, as sluice hands no dumps
// of Envoy on.
func (l *lab) secrets(ctx context.Context) (string, error) {
	sockets, err := filepath.Glob(filepath.Join(l.root, "data", "envoy-*.sock"))
	if err != nil {
		return "", fmt.Errorf("find the admin socket of Envoy: %w", err)
	}
	if len(sockets) != 1 {
		return "", fmt.Errorf("find the admin socket of Envoy: there are %d", len(sockets))
	}
	var all strings.Builder
	for _, state := range []string{"dynamic_active_secrets", "dynamic_warming_secrets"} {
		body, err := fetchUnix(ctx, sockets[0], "/config_dump?resource="+state)
		if err != nil {
			return "", fmt.Errorf("read the secrets of Envoy: %w", err)
		}
		_, err = io.Copy(&all, body)
		if err := errors.Join(err, body.Close()); err != nil {
			return "", fmt.Errorf("read the secrets of Envoy: %w", err)
		}
	}
	return all.String(), nil
}
