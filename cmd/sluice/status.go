package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/status"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show what is live, and what is not and why",
		Description: "Examples:\n  sluice status\n  sluice status -o wide\n  sluice status -o json | jq '.objects[] | select(.problems)'",
		Flags:       []cli.Flag{adminFlag(), outputFlag("table, wide, json or yaml")},
		Action: func(c *cli.Context) error {
			doc, err := fetchStatus(c.Context, c.String("admin"))
			if err != nil {
				return err
			}
			return writeStatus(c.App.Writer, c.String("output"), doc)
		},
	}
}

func writeStatus(w io.Writer, format string, doc statusDocument) error {
	switch format {
	case "", "table", "wide":
		return writeTable(w, doc, format == "wide")
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(doc)
	case "yaml":
		text, err := yaml.Marshal(doc)
		if err != nil {
			return fmt.Errorf("write status: %w", err)
		}
		_, err = w.Write(text)
		return err
	}
	return cli.Exit(fmt.Sprintf("sluice status: unknown output %q; use table, wide, json or yaml", format), 2)
}

func writeTable(w io.Writer, doc statusDocument, wide bool) error {
	fmt.Fprintf(w, "sluice %s, envoy %s, generation %d live %d, listening on %s\n",
		doc.Version, doc.Envoy.words(), doc.Generation, doc.Live, orNone(strings.Join(doc.Listeners, ", ")))
	if doc.Envoy.Reason != "" {
		fmt.Fprintf(w, "error envoy: %s\n", doc.Envoy.Reason)
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	head := "KIND\tNAMESPACE\tNAME\tLIVE\tTOOK\tSINCE\tPROBLEMS"
	if wide {
		head += "\tGENERATION\tFILE"
	}
	fmt.Fprintln(tw, head)
	now := time.Now()
	for _, o := range doc.Objects {
		took := "-"
		if o.Since != nil {
			took = fmt.Sprintf("%.1fms", o.TookMS)
		}
		row := fmt.Sprintf("%s\t%s\t%s\t%d/%d\t%s\t%s\t%s", o.Kind, o.Namespace, o.Name, o.Live, o.Of, took, age(o.Since, now), countFaults(len(o.Faults)+o.MoreProblems))
		if wide {
			row += fmt.Sprintf("\t%d\t%s", o.Generation, o.Path)
		}
		fmt.Fprintln(tw, row)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	writeFaults(w, doc)
	return nil
}

func countFaults(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// writeFaults prints every problem below the table.
func writeFaults(w io.Writer, doc statusDocument) {
	var b strings.Builder
	for _, f := range doc.Problems {
		writeFault(&b, "", f)
	}
	for _, o := range doc.Objects {
		for _, f := range o.Faults {
			writeFault(&b, o.ref().String(), f)
		}
		if o.MoreProblems > 0 {
			fmt.Fprintf(&b, "%s: %d more problems\n", o.ref(), o.MoreProblems)
		}
	}
	if doc.MoreProblems > 0 {
		fmt.Fprintf(&b, "%d more problems of files and proxies\n", doc.MoreProblems)
	}
	for _, c := range doc.Certificates {
		if c.Error != "" {
			writeFault(&b, "", status.ProblemStatus{Severity: model.SeverityWarning, Message: fmt.Sprintf("certificate of %s: %s; next try %s", c.Host, c.Error, until(c.NextTry, time.Now()))})
		}
	}
	if b.Len() > 0 {
		fmt.Fprint(w, "\n", b.String())
	}
}

func writeFault(w io.Writer, object string, f status.ProblemStatus) {
	var parts []string
	if f.File != "" {
		at := f.File
		if f.Line > 0 {
			at += fmt.Sprintf(":%d", f.Line)
		}
		parts = append(parts, at)
	}
	for _, p := range []string{object, f.Field, f.Message} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	fmt.Fprintf(w, "%s %s\n", f.Severity, strings.Join(parts, ": "))
}

func orNone(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}
