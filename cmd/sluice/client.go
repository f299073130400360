package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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

// fetchStatus asks a running Sluice for its status.
func fetchStatus(ctx context.Context, admin string) (statusDocument, error) {
	var doc statusDocument
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/status", nil)
	if err != nil {
		return doc, fmt.Errorf("ask %s for the status: %w", admin, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && errors.Is(op.Err, syscall.ECONNREFUSED) {
			return doc, fmt.Errorf("no sluice answers on %s; is `sluice run` running, and with the same --admin?", admin)
		}
		return doc, fmt.Errorf("ask %s for the status: %w", admin, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return doc, fmt.Errorf("read the status of %s: %w", admin, err)
	}
	if resp.StatusCode != http.StatusOK {
		return doc, fmt.Errorf("ask %s for the status: it answers %s", admin, resp.Status)
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return doc, fmt.Errorf("read the status of %s: %w; is that a sluice?", admin, err)
	}
	return doc, nil
}
