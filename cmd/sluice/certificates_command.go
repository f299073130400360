package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"
)

func certificatesCommand() *cli.Command {
	return &cli.Command{
		Name: "certificates", Usage: "show the certificates of a running gateway; renew or revoke automatic ones",
		Description: "Examples:\n  sluice certificates\n  sluice certificates -o json\n  sluice certificates renew a.example.com\n  sluice certificates revoke a.example.com",
		Flags:       []cli.Flag{adminFlag(), outputFlag("table, json or yaml")},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return cli.Exit(fmt.Sprintf("sluice certificates: unknown command %q; use renew or revoke", c.Args().First()), 2)
			}
			return listCertificates(c)
		},
		Subcommands: []*cli.Command{
			certificateAction("renew", "order a new certificate for a host now"),
			certificateAction("revoke", "revoke the certificate of a host and order another"),
		},
	}
}

// certificateAction is a command that asks the gateway to do something about the
// certificate of a host, and waits until it is done.
func certificateAction(verb, usage string) *cli.Command {
	return &cli.Command{
		Name: verb, Usage: usage, ArgsUsage: "HOST", Flags: []cli.Flag{adminFlag()},
		Action: func(c *cli.Context) error {
			host := c.Args().First()
			if host == "" || c.NArg() != 1 {
				return cli.Exit(fmt.Sprintf("sluice certificates %s: name one host", verb), 2)
			}
			ctx, cancel := context.WithTimeout(c.Context, 5*time.Minute)
			defer cancel()
			if _, err := askAdmin(ctx, http.MethodPost, c.String("admin"), "/certificates/"+url.PathEscape(host)+"/"+verb); err != nil {
				return err
			}
			fmt.Fprintf(c.App.Writer, "%s: done\n", host)
			return nil
		},
	}
}

func listCertificates(c *cli.Context) error {
	ctx, cancel := context.WithTimeout(c.Context, adminPatience)
	defer cancel()
	body, err := askAdmin(ctx, http.MethodGet, c.String("admin"), "/certificates")
	if err != nil {
		return err
	}
	var docs []certificateDocument
	if err := json.Unmarshal(body, &docs); err != nil {
		return fmt.Errorf("read the certificates of %s: %w; is that a sluice?", c.String("admin"), err)
	}
	switch c.String("output") {
	case "", "table":
		return writeCertificates(c.App.Writer, docs, time.Now())
	case "json":
		_, err = c.App.Writer.Write(body)
		return err
	case "yaml":
		text, err := yaml.JSONToYAML(body)
		if err != nil {
			return fmt.Errorf("write certificates: %w", err)
		}
		_, err = c.App.Writer.Write(text)
		return err
	}
	return cli.Exit(fmt.Sprintf("sluice certificates: unknown output %q; use table, json or yaml", c.String("output")), 2)
}

func writeCertificates(w io.Writer, docs []certificateDocument, now time.Time) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "HOST\tSTATE\tISSUER\tEXPIRES\tRENEWAL\tNEXT TRY\tFROM")
	for _, d := range docs {
		issuer := d.Issuer
		if issuer == "" {
			issuer = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Host, d.State, issuer,
			until(d.NotAfter, now), until(d.Renewal, now), until(d.NextTry, now), d.Source)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write certificates: %w", err)
	}
	for _, d := range docs {
		if d.Error != "" {
			fmt.Fprintf(w, "\n%s: %s\n", d.Host, strings.ReplaceAll(d.Error, "\n", "\n  "))
		}
	}
	return nil
}

// until is how long it is until t, as people say it.
func until(t *time.Time, now time.Time) string {
	const day = 24 * time.Hour
	if t == nil {
		return "-"
	}
	d := t.Sub(now)
	switch {
	case d < 0:
		return "now"
	case d < time.Minute:
		return "in " + d.Round(time.Second).String()
	case d < 2*day:
		return "in " + strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("in %dd", d/day)
}
