package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sluicegw/sluice/compile"
	"github.com/sluicegw/sluice/config/file"
	"github.com/sluicegw/sluice/config/file/keep"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/proxy"
	"github.com/sluicegw/sluice/tls/acme"
)

// localNode is the id of the one Envoy of a machine.
const localNode = "local"

// runOptions are the flags of `sluice run`.
type runOptions struct {
	dirs        []string
	envoy       string
	admin       string
	adminHosts  []string
	dataDir     string
	drainTime   time.Duration
	drainMin    time.Duration
	fileSettle  time.Duration
	stayInside  bool
	allowEmpty  bool
	concurrency int
	scopedAbove int
	fleet       compile.Fleet
	keepEnvoy   bool
	hugePages   bool
	verify      bool
	pprof       bool
	acme        acme.Options
	askURL      string
	ticketDir   string // of the keys of session tickets
	log         *slog.Logger
}

func runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "run a gateway from folders of YAML", ArgsUsage: "DIR...",
		Description: "Reads *.yaml, *.yml and *.json below the folders, runs an Envoy that does what they\n" +
			"say, and follows every change. SIGTERM drains and stops: clients are told to leave,\n" +
			"what is under way ends first. SIGHUP restarts Envoy hot, as a new version of its\n" +
			"binary does by itself.\n\n" +
			"Examples:\n  sluice run examples/quickstart\n  sluice run --envoy /usr/local/bin/envoy --admin 127.0.0.1:9900 /etc/sluice\n" +
			"  sluice run --log-format json --drain-time 60s routes/ services/",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "envoy", Usage: "`PATH` of the Envoy to run; else $SLUICE_ENVOY, else the one on $PATH"},
			&cli.StringFlag{Name: "admin", Value: defaultAdmin, EnvVars: []string{"SLUICE_ADMIN"}, Usage: "`ADDR` of the admin API"},
			&cli.StringSliceFlag{Name: "admin-host", EnvVars: []string{"SLUICE_ADMIN_HOST"}, Usage: "`NAME` by which the admin API is asked, besides its address and localhost; may be given several times"},
			&cli.StringFlag{Name: "data-dir", EnvVars: []string{"SLUICE_DATA_DIR"}, Usage: "`DIR` for what must survive a restart (default: in the user's state directory)"},
			&cli.DurationFlag{Name: "drain-time", Usage: "how long connections may finish when Envoy stops or is replaced (default: the setting drainTimeout)"},
			&cli.DurationFlag{Name: "drain-min", EnvVars: []string{"SLUICE_DRAIN_MIN"}, Usage: "how long to serve on as before after SIGTERM, while /readyz says 503, for balancers to notice; 5s where they ask for readiness"},
			&cli.DurationFlag{Name: "file-settle", Value: file.DefaultSettle, EnvVars: []string{"SLUICE_FILE_SETTLE"}, Usage: "how long a file that is written in place must have been still before what it no longer holds is removed"},
			&cli.BoolFlag{Name: "allow-empty", EnvVars: []string{"SLUICE_ALLOW_EMPTY"}, Usage: "take a folder that is empty after a restart, or after it was gone, for what it is at once"},
			&cli.IntFlag{Name: "concurrency", Usage: "worker threads of Envoy; 0 leaves it to Envoy"},
			scopedAboveFlag(),
			stayInsideFlag(),
			namespaceFlag(),
			localityFlag(),
			labelsFlag(),
			&cli.BoolFlag{Name: "keep-envoy", Usage: "let Envoy live on when sluice is killed, for the next start to take over"},
			&cli.BoolFlag{Name: "huge-pages", Value: true, EnvVars: []string{"SLUICE_HUGE_PAGES"}, Usage: "put Envoy's memory into huge pages where the kernel gives them to those who ask; needs CAP_SYS_NICE"},
			&cli.BoolFlag{Name: "verify", Usage: "compile now and then from scratch and compare; costs CPU"},
			&cli.BoolFlag{Name: "pprof", Usage: "serve /debug/pprof on the admin address"},
			&cli.StringFlag{Name: "log-level", Value: "info", EnvVars: []string{"SLUICE_LOG_LEVEL"}, Usage: "debug, info, warn or error"},
			&cli.StringFlag{Name: "log-format", Value: "text", EnvVars: []string{"SLUICE_LOG_FORMAT"}, Usage: "text or json"},
		}, acmeFlags()...),
		Action: func(c *cli.Context) error {
			o, err := runOptionsOf(c)
			if err != nil {
				return err
			}
			return runGateway(c.Context, o)
		},
	}
}

func runOptionsOf(c *cli.Context) (runOptions, error) {
	o := runOptions{
		dirs: c.Args().Slice(), envoy: c.String("envoy"), dataDir: c.String("data-dir"),
		admin: c.String("admin"), adminHosts: c.StringSlice("admin-host"),
		drainTime: c.Duration("drain-time"), drainMin: c.Duration("drain-min"), fileSettle: c.Duration("file-settle"),
		stayInside: c.Bool("stay-inside"), allowEmpty: c.Bool("allow-empty"),
		concurrency: c.Int("concurrency"), scopedAbove: c.Int("scoped-above"),
		keepEnvoy: c.Bool("keep-envoy"), hugePages: c.Bool("huge-pages"), verify: c.Bool("verify"), pprof: c.Bool("pprof"),
	}
	if len(o.dirs) == 0 {
		return o, cli.Exit("sluice run: name at least one folder, for example `sluice run examples/quickstart`", 2)
	}
	if o.fileSettle <= 0 {
		return o, cli.Exit("sluice run: --file-settle must be more than 0; without a wait, a file that is being written would take objects away", 2)
	}
	if o.concurrency < 0 || o.scopedAbove < 0 || o.drainTime < 0 || o.drainMin < 0 {
		return o, cli.Exit("sluice run: --concurrency, --scoped-above, --drain-time and --drain-min must not be negative", 2)
	}
	var err error
	if o.fleet, err = fleetOf(c); err != nil {
		return o, err
	}
	if o.log, err = newLogger(c.App.ErrWriter, c.String("log-level"), c.String("log-format")); err != nil {
		return o, err
	}
	if o.dataDir == "" {
		if o.dataDir, err = defaultDataDir(o.admin); err != nil {
			return o, err
		}
	}
	o.ticketDir = filepath.Join(storageDir(c, o.dataDir, ""), "tickets")
	if o.askURL, err = askURLOf(c); err != nil {
		return o, err
	}
	o.acme, err = acmeOptionsOf(c, o.dataDir)
	return o, err
}

// defaultDataDir is a folder of the user's state directory, one for each admin
// address so that two gateways do not share it.
func defaultDataDir(admin string) (string, error) {
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the state directory: %w; name one with --data-dir", err)
		}
		base = filepath.Join(home, ".local", "state")
	}
	_, port, err := net.SplitHostPort(admin)
	if err != nil {
		return "", cli.Exit(fmt.Sprintf("sluice run: --admin %q is not host:port", admin), 2)
	}
	return filepath.Join(base, "sluice", port), nil
}

// findEnvoy looks where the user said, then on $PATH, then where `make tools`
// of a checkout puts it.
func findEnvoy(ctx context.Context, flag string) (proxy.Binary, error) {
	o := proxy.FindOptions{Flag: flag, Env: os.Getenv("SLUICE_ENVOY"), PathList: os.Getenv("PATH")}
	if exe, err := os.Executable(); err == nil {
		o.Fallback = filepath.Join(filepath.Dir(exe), "..", ".tools", "envoy")
	}
	return proxy.Find(ctx, o)
}

// listenAdmin takes the admin address, and says what to do if it is taken.
func listenAdmin(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("admin address %s is in use, perhaps by another sluice; stop it or choose another with --admin", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on admin address %s: %w", addr, err)
	}
	return l, nil
}

// keepDir is where the objects of the folders outlive the process.
func (o runOptions) keepDir() string { return filepath.Join(o.dataDir, "objects") }

// checkDirs finds arguments that are none, for who mistyped one. A folder that
// was served before may be missing: what it held is kept.
func (o runOptions) checkDirs() error {
	for i, d := range o.dirs {
		st, err := os.Stat(d)
		switch {
		case err != nil && !keep.Holds(o.keepDir(), absolute(o.dirs)[i]):
			return fmt.Errorf("read folder %s: %w", d, err)
		case err == nil && !st.IsDir():
			return fmt.Errorf("read folder %s: it is a file; name the folder that holds it", d)
		}
	}
	return nil
}

// absolute returns dirs as absolute paths, for clients with another working
// directory.
func absolute(dirs []string) []string {
	out := make([]string, len(dirs))
	for i, d := range dirs {
		out[i] = d
		if abs, err := filepath.Abs(d); err == nil {
			out[i] = abs
		}
	}
	return out
}

// needsRestart reports whether b cannot take the place of a in a running Envoy:
// what the bootstrap and the flags hold changes only with a new process.
func (o runOptions) needsRestart(a, b model.Settings) bool {
	return a.MaxHeapBytes != b.MaxHeapBytes || a.MaxConnections != b.MaxConnections ||
		o.drainTime == 0 && a.DrainTimeout != b.DrainTimeout
}
