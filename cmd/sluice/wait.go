package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// waitGrace is how much later than the time-out the answer may come.
const waitGrace = 2 * time.Second

// exitStuck is the exit code of `sluice wait` when waiting cannot help.
const exitStuck = 3

func waitCommand() *cli.Command {
	return &cli.Command{
		Name: "wait", Usage: "wait until what is on disk now is live on every proxy", ArgsUsage: "[DIR]",
		Description: "Has the running sluice read its folders, and exits with 0 as soon as every object in\n" +
			"them (or in DIR, one of them or below) is live as written. Otherwise it says what is\n" +
			"not live and why, and exits with 1 when the time is over, and with 3 at once when\n" +
			"only an error is left that its author must mend.\n\n" +
			"Example:\n  cp new-route.yaml routes/ && sluice wait && curl http://127.0.0.1:8080/",
		Flags: []cli.Flag{
			adminFlag(),
			&cli.DurationFlag{Name: "timeout", Value: 30 * time.Second, Usage: "give up after this `TIME`"},
		},
		Action: func(c *cli.Context) error {
			start := time.Now()
			doc, err := askWait(c.Context, c.String("admin"), c.Duration("timeout"), absolute(c.Args().Slice()))
			if err != nil {
				return err
			}
			took := time.Since(start).Round(time.Millisecond).String()
			switch list := "\n  " + strings.Join(doc.Missing, "\n  "); {
			case doc.Live:
				fmt.Fprintf(c.App.Writer, "live on %d of %d proxies after %s\n", doc.Proxies, doc.Proxies, took)
				return nil
			case doc.Stuck:
				return cli.Exit("sluice wait: not live after "+took+", and waiting does not help; mend this:"+list, exitStuck)
			default:
				return cli.Exit("sluice wait: not live after "+took+":"+list, 1)
			}
		},
	}
}

// askWait asks a running Sluice to answer once what is on disk is live.
func askWait(ctx context.Context, admin string, timeout time.Duration, dirs []string) (waitDocument, error) {
	var doc waitDocument
	ctx, cancel := context.WithTimeout(ctx, timeout+waitGrace)
	defer cancel()
	query := url.Values{"timeout": {timeout.String()}, "dir": dirs}
	body, err := askAdmin(ctx, http.MethodGet, admin, "/wait?"+query.Encode())
	if err != nil {
		return doc, err
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return doc, fmt.Errorf("read the answer of %s: %w; is that a sluice?", admin, err)
	}
	return doc, nil
}
