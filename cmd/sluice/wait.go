package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/urfave/cli/v2"

	"github.com/sluicegw/sluice/config/file"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/status"
)

// waitPoll is how often a waiting client asks.
const waitPoll = 20 * time.Millisecond

func waitCommand() *cli.Command {
	return &cli.Command{
		Name: "wait", Usage: "wait until what is on disk now is live on every proxy", ArgsUsage: "[DIR]",
		Description: "Reads the folders of the running sluice (or DIR, one of them or below) and exits\n" +
			"with 0 as soon as every object in them is live as written. Otherwise it says what\n" +
			"is not live and why, and exits with 1.\n\n" +
			"Example:\n  cp new-route.yaml routes/ && sluice wait && curl http://127.0.0.1:8080/",
		Flags: []cli.Flag{
			adminFlag(),
			&cli.DurationFlag{Name: "timeout", Value: 30 * time.Second, Usage: "give up after this `TIME`"},
		},
		Action: func(c *cli.Context) error {
			ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
			defer cancel()
			start := time.Now()
			doc, missing, err := waitLive(ctx, c.String("admin"), c.Args().Slice())
			if err != nil {
				return err
			}
			if len(missing) > 0 {
				return cli.Exit("sluice wait: not live after "+time.Since(start).Round(time.Millisecond).String()+":\n  "+strings.Join(missing, "\n  "), 1)
			}
			fmt.Fprintf(c.App.Writer, "live on %d of %d proxies after %s\n", len(doc.Proxies), len(doc.Proxies), time.Since(start).Round(time.Millisecond))
			return nil
		},
	}
}

// waitLive polls until nothing is missing or ctx ends, and returns what is
// still missing then.
func waitLive(ctx context.Context, admin string, dirs []string) (statusDocument, []string, error) {
	var last statusDocument
	var missing []string
	for {
		doc, err := fetchStatus(ctx, admin)
		if err != nil && ctx.Err() != nil && len(missing) > 0 {
			return last, missing, nil // time ran out amid a question
		}
		if err != nil {
			return doc, nil, err
		}
		last = doc
		var final bool
		missing, final, err = compareDisk(doc, dirs)
		if err != nil || len(missing) == 0 || final {
			return doc, missing, err
		}
		select {
		case <-ctx.Done():
			return doc, missing, nil
		case <-time.After(waitPoll):
		}
	}
}

// compareDisk lists what is on disk but not live, and the other way round.
// final is set when waiting cannot help: the files themselves are at fault.
func compareDisk(doc statusDocument, dirs []string) (missing []string, final bool, err error) {
	whole := len(dirs) == 0
	if whole {
		dirs = doc.Directories
	}
	step, err := file.Load(file.Options{Dirs: dirs, StayInside: os.Geteuid() == 0, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		return nil, false, err
	}
	for _, p := range step.Problems {
		if p.Reason != model.ReasonDuplicateObject {
			missing, final = append(missing, problemLine(p)), true
		}
	}
	served := map[model.Ref]objectDocument{}
	for _, o := range doc.Objects {
		served[o.ref()] = o
	}
	for _, o := range step.Upserts {
		s, known := served[o.Ref]
		delete(served, o.Ref)
		if why := notLive(s, known, status.HashString(xxhash.Sum64(o.JSON))); why != "" {
			missing = append(missing, o.Ref.String()+": "+why)
		}
	}
	for ref, o := range served {
		if whole || below(o.Path, dirs) {
			missing = append(missing, ref.String()+": is gone from disk but still served")
		}
	}
	slices.Sort(missing)
	return missing, final, nil
}

// notLive says why an object is not live as written; "" if it is.
func notLive(o objectDocument, known bool, hash string) string {
	switch {
	case !known:
		return "not read yet"
	case o.Hash != hash:
		return "an older version is served"
	case o.Live < o.Of || o.Of == 0:
		return fmt.Sprintf("live on %d of %d proxies%s", o.Live, o.Of, faultText(o))
	}
	for _, f := range o.Faults {
		if f.Severity == model.SeverityError {
			return "not served as written" + faultText(o)
		}
	}
	return ""
}

func faultText(o objectDocument) string {
	for _, f := range o.Faults {
		if f.Severity == model.SeverityError {
			return ": " + strings.TrimPrefix(f.Field+": "+f.Message, ": ")
		}
	}
	return ""
}

// below reports whether path lies in one of dirs.
func below(path string, dirs []string) bool {
	p, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	for _, d := range dirs {
		if abs, err := filepath.Abs(d); err == nil && strings.HasPrefix(p, abs+string(filepath.Separator)) {
			return true
		}
	}
	return false
}
