package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

const defaultAdmin = "127.0.0.1:9900"

func adminFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "admin", Value: defaultAdmin, EnvVars: []string{"SLUICE_ADMIN"},
		Usage: "`ADDR` of the admin API of a running sluice",
	}
}

// adminPatience bounds a question to a running Sluice.
const adminPatience = 10 * time.Second

// askAdmin asks a running Sluice and returns the body of its answer. What it
// refuses is an error in its own words.
func askAdmin(ctx context.Context, method, admin, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+admin+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", admin, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && errors.Is(op.Err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("no sluice answers on %s; is `sluice run` running, and with the same --admin?", admin)
		}
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
