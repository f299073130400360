// Command sluice is an edge gateway: it turns a folder of Istio YAML into what
// a real Envoy does, and says when it is true.
//
// What goes in: flags, folders, signals. What comes out: a running gateway, or
// answers about one. This is the only place where the parts are wired together.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
)

// version is set by the linker.
var version = ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args, os.Stdout, os.Stderr))
}

// execute runs the program and returns its exit code: 0 all well, 1 the answer
// is no (problems found, not live, not running), 2 wrong usage, 3 the answer of
// `sluice wait` stays no until somebody mends a file.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := newApp()
	app.Writer, app.ErrWriter = stdout, stderr
	app.ExitErrHandler = func(*cli.Context, error) {}
	err := app.RunContext(ctx, args)
	if err == nil {
		return 0
	}
	// Only what is itself an exit: deep inside an error there may be that of a
	// command that was run, whose code is none of ours.
	if exit, ok := err.(cli.ExitCoder); ok { //nolint:errorlint // see above
		if msg := exit.Error(); msg != "" {
			fmt.Fprintln(stderr, msg)
		}
		return exit.ExitCode()
	}
	fmt.Fprintln(stderr, "sluice:", err)
	return 1
}

func newApp() *cli.App {
	app := &cli.App{
		Name:  "sluice",
		Usage: "an edge gateway: Istio YAML in, a live Envoy out",
		Description: "Declare gateways, routes and destinations in a folder of YAML. Sluice runs a real\n" +
			"Envoy that does what the folder says, within milliseconds of every change, and\n" +
			"tells you when a change is live, or why it is not.\n\n" +
			"  sluice run examples/quickstart        run the gateway\n" +
			"  sluice validate examples/quickstart   check a folder without running it\n" +
			"  sluice wait                           block until what is on disk is live",
		Version:              versionString(),
		HideVersion:          true,
		Suggest:              true,
		EnableBashCompletion: true,
		Commands: []*cli.Command{
			runCommand(), validateCommand(), translateCommand(), waitCommand(), statusCommand(), certificatesCommand(), versionCommand(),
			completionCommand(), manCommand(),
		},
		OnUsageError: usageError,
	}
	app.Action = func(c *cli.Context) error {
		if c.NArg() == 0 {
			return cli.ShowAppHelp(c)
		}
		name := c.Args().First()
		msg := fmt.Sprintf("sluice: unknown command %q", name)
		// The library suggests a whole sentence: Did you mean "run"?
		if s := cli.SuggestCommand(c.App.Commands, name); s != "" {
			msg += "; " + strings.ToLower(s[:1]) + s[1:]
		}
		return cli.Exit(msg+"\nRun 'sluice --help' for the list of commands.", 2)
	}
	for _, cmd := range app.Commands {
		cmd.OnUsageError = usageError
	}
	return app
}

// usageError answers wrong flags with one line and where to look.
func usageError(c *cli.Context, err error, _ bool) error {
	name, flags := "sluice", c.App.Flags
	if c.Command != nil && c.Command.Name != "" && c.Command.Name != c.App.Name {
		name += " " + c.Command.Name
		flags = c.Command.Flags
	}
	msg := fmt.Sprintf("%s: %v", name, err)
	var wrong string
	if n, _ := fmt.Sscanf(err.Error(), "flag provided but not defined: -%s", &wrong); n == 1 {
		if s := cli.SuggestFlag(flags, wrong, false); s != "" {
			msg += fmt.Sprintf("; did you mean %q?", s)
		}
	}
	return cli.Exit(msg+fmt.Sprintf("\nRun '%s --help' for its flags.", name), 2)
}

func versionString() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "development"
}
