// Command sluice-loadtest measures a Sluice on this machine: it makes up a
// world of hosts, starts sluice with it, changes files and watches when clients
// see the change. What goes in: a scenario and its flags. What comes out: a JSON
// result, or with bench a table of what is over budget and exit code 1.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/sluicegw/sluice/loadtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := app().RunContext(ctx, os.Args)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "sluice-loadtest:", err)
		os.Exit(1)
	}
}

func app() *cli.App {
	a := &cli.App{
		Name:                 "sluice-loadtest",
		Usage:                "measure how fast and how cheaply sluice carries a change to a client",
		EnableBashCompletion: true,
		Suggest:              true,
		Description: "Everything runs on 127.0.0.1 and ends with the program.\n\n" +
			"  sluice-loadtest edit --hosts 10000\n" +
			"  sluice-loadtest throughput --hosts 1000 --out result.json\n" +
			"  sluice-loadtest bench --budgets loadtest/budgets.yaml",
		HideHelpCommand: true,
	}
	for _, s := range loadtest.Scenarios() {
		a.Commands = append(a.Commands, scenarioCommand(s))
	}
	a.Commands = append(a.Commands, benchCommand())
	return a
}

// placeFlags say where the programs are.
func placeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "sluice", Value: "bin/sluice", Usage: "`PATH` of the sluice to measure"},
		&cli.StringFlag{Name: "envoy", Value: ".tools/envoy", Usage: "`PATH` of its Envoy", EnvVars: []string{"SLUICE_ENVOY"}},
	}
}

func place(c *cli.Context) loadtest.Place {
	return loadtest.Place{Sluice: c.String("sluice"), Envoy: c.String("envoy"), Log: c.App.ErrWriter}
}

func scenarioCommand(s loadtest.Scenario) *cli.Command {
	return &cli.Command{
		Name:  s.Name,
		Usage: s.Usage,
		Flags: append(placeFlags(),
			&cli.IntFlag{Name: "hosts", Value: s.Default.Hosts, Usage: "hosts at the start"},
			&cli.IntFlag{Name: "services", Value: s.Default.Services, DefaultText: "hosts/10, 2 to 100", Usage: "services behind them"},
			&cli.IntFlag{Name: "edits", Value: s.Default.Edits, Usage: "measured changes"},
			&cli.IntFlag{Name: "scoped-above", DefaultText: "sluice's own", Usage: "passed to sluice"},
			&cli.IntFlag{Name: "rps", Value: s.Default.RPS, Usage: "open-loop requests per second"},
			&cli.IntFlag{Name: "edits-per-second", Value: s.Default.EditsPerSecond, Usage: "edits in the background"},
			&cli.IntFlag{Name: "seconds", Value: s.Default.Seconds, Usage: "how long each side of a comparison runs"},
			&cli.IntFlag{Name: "starts", Value: s.Default.Starts, Usage: "how often the proxies of a comparison are started anew"},
			&cli.IntFlag{Name: "routes", Value: s.Default.Routes, Usage: "routes of the one large host"},
			&cli.IntFlag{Name: "connections", Value: s.Default.Connections, Usage: "connections that saturate a proxy"},
			&cli.IntFlag{Name: "names", Value: s.Default.Names, Usage: "server names that no host has"},
			&cli.StringFlag{Name: "out", Usage: "write the result to `FILE` instead of the standard output"},
		),
		Action: func(c *cli.Context) error { return runScenario(c, s) },
	}
}

func runScenario(c *cli.Context, s loadtest.Scenario) error {
	if c.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", c.Args().First())
	}
	o := loadtest.Options{
		Hosts: c.Int("hosts"), Services: c.Int("services"), Edits: c.Int("edits"), RPS: c.Int("rps"),
		EditsPerSecond: c.Int("edits-per-second"), Seconds: c.Int("seconds"), Connections: c.Int("connections"),
		Starts: c.Int("starts"), Routes: c.Int("routes"), Names: c.Int("names"),
	}
	if c.IsSet("scoped-above") {
		n := c.Int("scoped-above")
		o.ScopedAbove = &n
	}
	result, err := s.Run(c.Context, place(c), o)
	if err != nil {
		return err
	}
	if path := c.String("out"); path != "" {
		return loadtest.WriteResult(path, result)
	}
	out := json.NewEncoder(c.App.Writer)
	out.SetIndent("", "  ")
	return out.Encode(result)
}

func benchCommand() *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "run everything in a file of budgets and tell what is over",
		Flags: append(placeFlags(),
			&cli.StringFlag{Name: "budgets", Value: "loadtest/budgets.yaml", Usage: "`FILE` of runs and limits"},
			&cli.StringFlag{Name: "results", Value: "loadtest/results", Usage: "`FOLDER` for the results, one JSON file each"},
			&cli.StringSliceFlag{Name: "only", Usage: "run only the run of this `NAME`; may be repeated"},
		),
		Action: runBench,
	}
}

func runBench(c *cli.Context) error {
	text, err := os.ReadFile(c.String("budgets"))
	if err != nil {
		return fmt.Errorf("read budgets: %w", err)
	}
	budgets, err := loadtest.ParseBudgets(text)
	if err != nil {
		return err
	}
	if only := c.StringSlice("only"); len(only) > 0 {
		if budgets, err = budgets.Only(only); err != nil {
			return err
		}
	}
	verdicts, err := loadtest.Bench(c.Context, place(c), budgets, c.String("results"))
	ok := loadtest.WriteVerdicts(c.App.Writer, verdicts)
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("over budget")
	}
	return nil
}
