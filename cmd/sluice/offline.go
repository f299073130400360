package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"

	"github.com/sluicegw/sluice/compile"
	"github.com/sluicegw/sluice/config/file"
	"github.com/sluicegw/sluice/console"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/tls/pemfile"
)

// defaultScopedAbove is the number of hosts above which a route table takes the
// scoped layout; architecture: one change of a plain table costs Envoy about
// 7 ms of CPU per 100 hosts.
const defaultScopedAbove = 256

func scopedAboveFlag() cli.Flag {
	return &cli.IntFlag{
		Name: "scoped-above", Value: defaultScopedAbove, EnvVars: []string{"SLUICE_SCOPED_ABOVE"},
		Usage: "`N` hosts in a route table from which each host gets a table of its own; 0 means always",
	}
}

// stayInsideFlag is on for root, who may read what is nobody else's: a link that
// somebody put into a folder must not bring it in.
func stayInsideFlag() cli.Flag {
	return &cli.BoolFlag{
		Name: "stay-inside", Value: os.Geteuid() == 0, DefaultText: "only as root", EnvVars: []string{"SLUICE_STAY_INSIDE"},
		Usage: "follow no link that leads out of the folder argument it lies in",
	}
}

func outputFlag(formats string) cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "output `FORMAT`: " + formats}
}

// compiled is a folder compiled without running it.
type compiled struct {
	result   compile.Result
	problems []model.Problem
}

// compileFolders reads folders once and compiles them: the same path as run.
func compileFolders(ctx *cli.Context) (compiled, error) {
	dirs := ctx.Args().Slice()
	if len(dirs) == 0 {
		return compiled{}, cli.Exit("sluice: name at least one folder", 2)
	}
	fleet, err := fleetOf(ctx)
	if err != nil {
		return compiled{}, err
	}
	o := file.Options{Dirs: dirs, StayInside: ctx.Bool("stay-inside"), Log: slog.New(slog.DiscardHandler), Now: time.Now}
	source := file.New(o)
	step, err := source.Load()
	if err != nil {
		return compiled{}, err
	}
	if fleet.ACME, err = offlineACME(ctx); err != nil {
		return compiled{}, err
	}
	c := compile.New(compile.Options{Kinds: kinds(), ScopedAbove: ctx.Int("scoped-above"), Fleet: fleet, Prepare: offlineFacts, Now: time.Now})
	out := compiled{result: c.Apply(step), problems: step.Problems}
	for _, r := range out.result.Reports {
		out.problems = append(out.problems, r.Problems...)
	}
	for i := range out.problems {
		if out.problems[i].Place == (model.Place{}) {
			out.problems[i].Place = source.Locate(out.problems[i].Object, out.problems[i].Field)
		}
	}
	slices.SortFunc(out.problems, model.Problem.Compare)
	out.problems = slices.Compact(out.problems)
	return out, nil
}

// offlineFacts reads the files that objects name.
func offlineFacts(w *compile.Wants) compile.Facts {
	f := compile.Facts{Files: map[string]compile.File{}}
	for _, path := range w.Files {
		f.Files[path] = fileOf(pemfile.Load(path))
	}
	return f
}

func validateCommand() *cli.Command {
	return &cli.Command{
		Name: "validate", Usage: "check folders and print every problem", ArgsUsage: "DIR...",
		Description: "Prints one line a problem, as file:line: Kind namespace/name: field: message,\n" +
			"and exits with 1 if any of them is an error, not a (warning) or a (note).\n\n" +
			"Examples:\n  sluice validate examples/quickstart\n  sluice validate -o json routes/ services/",
		Flags: append([]cli.Flag{outputFlag("text or json"), scopedAboveFlag(), stayInsideFlag(), namespaceFlag(), localityFlag(), labelsFlag()}, acmeFlags()...),
		Action: func(c *cli.Context) error {
			out, err := compileFolders(c)
			if err != nil {
				return err
			}
			switch c.String("output") {
			case "json":
				err = writeProblemsJSON(c.App.Writer, out.problems)
			case "", "text":
				writeProblems(c.App.Writer, out.problems)
			default:
				err = cli.Exit(fmt.Sprintf("sluice validate: unknown output %q; use text or json", c.String("output")), 2)
			}
			if err == nil && slices.ContainsFunc(out.problems, func(p model.Problem) bool { return p.Severity == model.SeverityError }) {
				err = cli.Exit("", 1)
			}
			return err
		},
	}
}

func writeProblems(w io.Writer, problems []model.Problem) {
	for _, p := range problems {
		fmt.Fprintln(w, problemLine(p))
	}
}

// problemLine is a problem as "file:line: Kind ns/name: field: message".
func problemLine(p model.Problem) string {
	var parts []string
	if p.Place.File != "" {
		at := p.Place.File
		if p.Place.Line > 0 {
			at += fmt.Sprintf(":%d", p.Place.Line)
		}
		parts = append(parts, at)
	}
	if p.Object.Kind != "" && p.Object.Kind != "File" {
		parts = append(parts, p.Object.String())
	}
	if p.Field != "" {
		parts = append(parts, p.Field)
	}
	line := strings.Join(append(parts, p.Message), ": ")
	if p.Severity != model.SeverityError {
		line += " (" + string(p.Severity) + ")"
	}
	return line
}

// problemJSON is a problem as `validate -o json` prints it.
type problemJSON struct {
	File      string         `json:"file,omitempty"`
	Line      int            `json:"line,omitempty"`
	Kind      string         `json:"kind,omitempty"`
	Namespace string         `json:"namespace,omitempty"`
	Name      string         `json:"name,omitempty"`
	Field     string         `json:"field,omitempty"`
	Reason    model.Reason   `json:"reason"`
	Severity  model.Severity `json:"severity"`
	Message   string         `json:"message"`
}

func writeProblemsJSON(w io.Writer, problems []model.Problem) error {
	out := make([]problemJSON, len(problems))
	for i, p := range problems {
		out[i] = problemJSON{
			File: p.Place.File, Line: p.Place.Line, Kind: p.Object.Kind, Namespace: p.Object.Namespace, Name: p.Object.Name,
			Field: p.Field, Reason: p.Reason, Severity: p.Severity, Message: p.Message,
		}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

func translateCommand() *cli.Command {
	return &cli.Command{
		Name: "translate", Usage: "print the Envoy resources that folders become", ArgsUsage: "DIR...",
		Description: "Prints what `sluice run` would send, by the same code. Problems go to standard error.\n\n" +
			"Examples:\n  sluice translate examples/quickstart\n  sluice translate -o json --type route examples/quickstart",
		Flags: append([]cli.Flag{
			outputFlag("yaml or json"), scopedAboveFlag(), stayInsideFlag(), namespaceFlag(), localityFlag(), labelsFlag(),
			&cli.StringFlag{Name: "type", Usage: "only resources of this `TYPE`: listener, extension, scope, route, cluster, endpoint, secret"},
		}, acmeFlags()...),
		Action: func(c *cli.Context) error {
			types, err := console.TypesNamed(c.String("type"))
			if err != nil {
				return cli.Exit("sluice translate: "+err.Error(), 2)
			}
			out, err := compileFolders(c)
			if err != nil {
				return err
			}
			writeProblems(os.Stderr, out.problems)
			return writeResources(c, types, out.result.Change.Upserts)
		},
	}
}

func writeResources(c *cli.Context, types []model.ResourceType, all []*model.Resource) error {
	byType := map[string][]json.RawMessage{}
	for _, t := range types {
		for _, r := range all {
			if r.Type != t || r.OnRequest {
				continue
			}
			text, err := console.JSON(r)
			if err != nil {
				return err
			}
			byType[t.Short()] = append(byType[t.Short()], text)
		}
	}
	text, err := json.MarshalIndent(byType, "", "  ")
	if err != nil {
		return fmt.Errorf("write resources: %w", err)
	}
	switch c.String("output") {
	case "json":
		text = append(text, '\n')
	case "", "yaml":
		if text, err = yaml.JSONToYAML(text); err != nil {
			return fmt.Errorf("write resources: %w", err)
		}
	default:
		return cli.Exit(fmt.Sprintf("sluice translate: unknown output %q; use yaml or json", c.String("output")), 2)
	}
	_, err = c.App.Writer.Write(text)
	return err
}
