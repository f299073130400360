package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/sluicegw/sluice/compile"
	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/config/file"
	"github.com/sluicegw/sluice/console"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/proxy"
	"github.com/sluicegw/sluice/status"
	"github.com/sluicegw/sluice/xds"
)

// gateway is one running `sluice run`: all parts, wired.
type gateway struct {
	o          runOptions
	log        *slog.Logger
	registry   *prometheus.Registry
	store      *xds.Store
	board      *status.Board
	source     *file.Source
	pipeline   *pipeline
	supervisor *proxy.Supervisor
	certs      *certificates
	server     *grpc.Server
	xdsSocket  net.Listener
	admin      adminAccess
	envoy      string              // path of the binary
	settings   chan model.Settings // the latest
	stopping   atomic.Bool         // the end was asked for
}

// runGateway runs until ctx ends or a part cannot go on.
func runGateway(ctx context.Context, o runOptions) error {
	if os.Getenv("GOGC") == "" {
		// While the world is read, nearly all that is made stays, and looking for
		// what does not is a quarter of the work; see settled.
		debug.SetGCPercent(loadingGCPercent)
	}
	g, err := newGateway(ctx, o)
	if err != nil {
		return err
	}
	return g.run(ctx)
}

const (
	loadingGCPercent = 200
	steadyGCPercent  = 50
)

// settled follows the first generation. From here on most of the heap is the
// declared world: collecting at half of it instead of all costs little and keeps
// the process small. What the start took is given back.
func settled() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(steadyGCPercent)
		debug.FreeOSMemory()
	}
}

// newGateway makes all parts and takes the addresses they need.
func newGateway(ctx context.Context, o runOptions) (*gateway, error) {
	g := &gateway{o: o, log: o.log, registry: prometheus.NewRegistry(), settings: make(chan model.Settings, 1)}
	g.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := o.checkDirs(); err != nil {
		return nil, err
	}
	envoy, err := findEnvoy(ctx, o.envoy)
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(o.dataDir, "xds.sock")
	if err := g.listen(socket); err != nil {
		return nil, err
	}
	if g.certs, err = newCertificates(certificateOptions{dataDir: o.dataDir, ticketDir: o.ticketDir, acme: o.acme, askURL: o.askURL, registerer: g.registry, log: o.log}); err != nil {
		return nil, err
	}
	g.o.fleet.ACME = fleetACME(o.acme, o.askURL, g.certs.acme.HTTPAddress(), g.certs.acme.TLSALPNAddress())
	g.wire(envoy, socket)
	return g, nil
}

// listen takes the addresses that Sluice itself needs.
func (g *gateway) listen(socket string) (err error) {
	dir := g.o.dataDir
	if g.admin.tcp, err = listenAdmin(g.o.admin); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w; name another with --data-dir", err)
	}
	if max(len(socket), len(adminSocket(dir))) > longestSocket {
		return fmt.Errorf("data directory %s: its path is too long for unix sockets; choose a shorter one with --data-dir", dir)
	}
	if g.xdsSocket, err = xds.ListenUnix(socket); err != nil {
		return fmt.Errorf("use data directory %s: %w; if another sluice uses it, name another with --data-dir", dir, err)
	}
	if g.admin.unix, err = xds.ListenUnix(adminSocket(dir)); err != nil {
		return fmt.Errorf("use data directory %s: %w; if another sluice uses it, name another with --data-dir", dir, err)
	}
	g.admin.token, err = adminToken(dir)
	return err
}

// longestSocket is what the kernel takes for the path of a unix socket.
const longestSocket = 107

// wire connects the parts: source → pipeline → xds → Envoy → board.
func (g *gateway) wire(envoy proxy.Binary, socket string) {
	g.envoy = envoy.Path
	g.store = xds.NewStore()
	g.certs.decline = g.store.Decline
	g.board = status.NewBoard(time.Now, g.announce, localNode)
	g.source = file.New(file.Options{
		Dirs: g.o.dirs, Settle: g.o.fileSettle, StayInside: g.o.stayInside, AllowEmpty: g.o.allowEmpty,
		Keep: g.o.keepDir(), Log: g.log, Now: time.Now,
	})
	compiler := compile.New(compile.Options{Kinds: kinds(), ScopedAbove: g.o.scopedAbove, Fleet: g.o.fleet, Prepare: g.certs.prepare, Now: time.Now})
	g.pipeline = &pipeline{
		compiler: compiler, store: g.store, board: g.board,
		refused: make(chan struct{}, 1), asks: make(chan chan status.Generation), seen: map[model.ResourceName]compile.Refusal{},
		log: g.log, metrics: newPipelineMetrics(g.registry), onSettings: g.takeSettings, verify: g.o.verify,
		mail: g.certs.mail, onWants: g.certs.want, pairs: g.certs.pairs, onPairs: g.certs.show,
	}
	g.server = grpc.NewServer(xds.GRPCOptions()...)
	xds.NewServer(g.store, xds.Options{
		Log: g.log, Registerer: g.registry, Now: time.Now,
		OnRequest: func(name, _ string) bool { return g.certs.gate.Ask(name) },
		Busy:      g.busy,
		OnProgress: func(p xds.Progress) {
			if len(p.Proxy.Rejections) > 0 {
				g.pipeline.tell() // first: who sees a refusal on the board asks the pipeline what it made of it
			}
			g.board.Progress(proxyOf(p.Proxy))
		},
	}).Register(g.server)
	g.supervisor = proxy.New(proxy.Options{
		Binary: envoy, DataDir: g.o.dataDir, XDSSocket: socket, NodeID: localNode, Cluster: "sluice",
		Concurrency: g.o.concurrency, DrainTime: g.o.drainTime, DrainMin: g.o.drainMin, KeepEnvoy: g.o.keepEnvoy, HugePages: g.o.hugePages,
		Settings: model.DefaultSettings(), Locality: g.o.fleet.Locality, Log: g.log, Output: os.Stdout,
	})
	registerGatewayMetrics(g.registry, g.board, g.supervisor)
}

// announce logs that a change is true.
func (g *gateway) announce(l status.Live) {
	g.log.Info("live", "generation", l.Generation, "objects", l.Objects, "on", liveMessage(l), "took", l.Took)
	g.certs.live(l.Generation)
	if l.Generation == 1 {
		go settled() // takes a moment, and nobody waits for it
		for _, r := range g.store.Resources(model.TypeListener) {
			g.log.Info("listening", "listener", r.Name)
		}
	}
}

// proxyOf says in the words of the board what xds knows of a proxy.
func proxyOf(p xds.Proxy) status.Proxy {
	out := status.Proxy{Node: p.Node, Connected: p.Connected, Since: p.Since, Acked: status.Generation(p.Acked)}
	for _, r := range p.Rejections {
		out.Rejected = append(out.Rejected, status.Rejection{
			Resource: r.Resource, Owners: r.Owners, Detail: r.Detail, Bind: r.Bind, LastGood: r.Serving != 0,
		})
	}
	return out
}

// run runs all parts. When ctx ends, Envoy drains first, with everything it
// needs still there; then the rest ends.
func (g *gateway) run(ctx context.Context) error {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	group, life := errgroup.WithContext(life)
	serving, stop := context.WithCancel(ctx)
	defer stop()
	context.AfterFunc(life, stop) // a part that breaks stops Envoy too

	steps := make(chan config.Step)
	admin := console.NewServer(g.console())
	group.Go(func() error { return g.source.Run(life, steps) })
	group.Go(func() error { return g.pipeline.run(life, steps) })
	group.Go(func() error { return ignoreClosed(g.server.Serve(g.xdsSocket)) })
	group.Go(func() error { return ignoreClosed(admin.Serve(console.Limit(g.admin.tcp))) })
	group.Go(func() error { return ignoreClosed(admin.Serve(g.admin.unix)) })
	group.Go(func() error { return g.restarts(life) })
	group.Go(func() error { return journal{g.board, g.source.Locate, g.log}.run(life) })
	group.Go(func() error { return g.certs.run(life) })
	group.Go(func() error {
		defer end() // the last user of the others is gone
		return g.supervisor.Run(serving)
	})
	group.Go(func() error {
		<-life.Done()
		g.server.Stop()
		return admin.Close()
	})
	g.log.Info("admin api", "address", g.admin.tcp.Addr().String(), "socket", g.admin.unix.Addr().String())
	context.AfterFunc(ctx, func() {
		g.stopping.Store(true)
		g.log.Info("stopping; what is under way ends first")
	})
	err := group.Wait()
	if err == nil || errors.Is(err, context.Canceled) {
		g.log.Info("stopped")
		return nil
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, grpc.ErrServerStopped) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// takeSettings passes the latest settings on to whoever restarts Envoy.
func (g *gateway) takeSettings(s model.Settings) {
	select {
	case <-g.settings: // one that nobody took yet
	default:
	}
	g.settings <- s
}

// stampOf tells one version of a file from the next; "" when it is not there.
func stampOf(path string) string {
	st, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprint(st.ModTime().UnixNano(), " ", st.Size())
}

// binaryPoll is how often the Envoy binary is looked at.
const binaryPoll = 5 * time.Second

// restarts replaces Envoy hot on SIGHUP, when its binary changed, and when the
// settings of its bootstrap did.
func (g *gateway) restarts(ctx context.Context) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	tick := time.NewTicker(binaryPoll)
	defer tick.Stop()
	have, seen := model.DefaultSettings(), stampOf(g.envoy)
	for {
		var c proxy.Change
		why := "SIGHUP"
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
		case s := <-g.settings:
			if !g.o.needsRestart(have, s) {
				continue
			}
			have, c.Settings, why = s, &s, "settings of the bootstrap"
		case <-tick.C:
			now := stampOf(g.envoy)
			if now == seen || now == "" {
				continue
			}
			seen, why = now, "new binary"
		}
		g.log.Info("hot restart", "why", why)
		if err := g.supervisor.Restart(ctx, c); err != nil && ctx.Err() == nil {
			g.log.Error("hot restart refused", "error", err)
		}
	}
}

// console wires the admin API.
func (g *gateway) console() http.Handler {
	return g.admin.access(g.o).Guard(console.Handler(console.Sources{
		Ready:     g.ready,
		Status:    func() any { return g.status() },
		Wait:      func(ctx context.Context, dirs []string) (any, error) { return g.await(ctx, dirs) },
		Resources: g.store.Resources, Metrics: g.registry,
		Proxy: func(r *http.Request, path string) (*http.Response, error) {
			return g.supervisor.Admin(r.Context(), http.MethodGet, path)
		},
		Certificates: func() any { return g.certs.documents() },
		Renew:        g.certs.acme.Renew, Revoke: g.certs.acme.Revoke,
		Profiling: g.o.pprof, Log: g.log,
	}))
}

func (g *gateway) status() statusDocument {
	doc := describe(g.board.Snapshot(), g.source)
	doc.Directories = absolute(g.o.dirs)
	doc.Listeners = []string{}
	for _, r := range g.store.Resources(model.TypeListener) {
		doc.Listeners = append(doc.Listeners, r.Name)
	}
	doc.Certificates = g.certs.troubled()
	s := g.supervisor.State()
	doc.Envoy = envoyDocument{Phase: string(s.Phase), Reason: s.Reason, Version: s.Version, PID: s.PID, Epoch: s.Epoch, Restarts: s.Restarts}
	return doc
}
