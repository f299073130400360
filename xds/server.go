package xds

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/sluicegw/sluice/model"
)

// Options are what a [Server] can be told; the zero value is usable.
type Options struct {
	// Log gets connects and disconnects at info, rejections at warn. Nil is
	// silent.
	Log *slog.Logger
	// Registerer gets the metrics; nil is none. They must not be there yet.
	Registerer prometheus.Registerer
	// Now stamps what is reported; nil is [time.Now].
	Now func() time.Time
	// OnProgress is called when a proxy connects or disconnects, when its
	// acknowledged generation advances and when it rejects a resource or takes a
	// rejected one. It is called outside locks, by the goroutine of the stream,
	// which waits for it; calls of several streams overlap.
	OnProgress func(Progress)
	// OnRequest is told that a proxy asks for the secret of a name, in lower case,
	// that a wildcard published on request covers. True has the proxy wait until the
	// secret is published or [Store.Decline] is called, whatever comes first, even
	// before it returns. It is called like OnProgress; nil declines all.
	OnRequest func(name, wildcard string) bool
	// Busy is asked before a proxy gets a listener that it does not have, and says
	// who else holds the address, with the words "Address already in use"; "" is
	// nobody. Such a listener counts as refused for that. It is called by the
	// goroutine of the stream, which waits for it; nil is always "".
	Busy func(listener *model.Resource) string
	// RetryBind says how often a listener is sent again whose address is taken;
	// zero is every 1 s, 2 s, … 10 s.
	RetryBind Backoff
	// NeedTimeout is how long a step waits for a proxy to ask for what the step
	// before needs; zero is 5 s.
	NeedTimeout time.Duration
	// WarmTimeout is how long a step waits for a proxy to acknowledge clusters,
	// which it does once all of them are warm; a name that no DNS server answers
	// must not hold back everybody else. Zero is 2 s.
	WarmTimeout time.Duration
}

// Backoff is a growing pause: First, 2×First, 3×First, … but never above Max.
type Backoff struct{ First, Max time.Duration }

// Server answers delta ADS streams from a [Store].
type Server struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	store  *Store
	opts   Options
	order  []step
	counts *counts
}

// NewServer returns a server for the resources of store.
func NewServer(store *Store, o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.RetryBind == (Backoff{}) {
		o.RetryBind = Backoff{First: time.Second, Max: 10 * time.Second}
	}
	if o.NeedTimeout == 0 {
		o.NeedTimeout = 5 * time.Second
	}
	if o.WarmTimeout == 0 {
		o.WarmTimeout = 2 * time.Second
	}
	s := &Server{store: store, opts: o, order: order(), counts: newCounts(order())}
	if o.Registerer != nil {
		o.Registerer.MustRegister(s.counts)
	}
	return s
}

// Register adds the aggregated discovery service to g. State-of-the-world
// streams are answered Unimplemented.
func (s *Server) Register(g *grpc.Server) {
	discovery.RegisterAggregatedDiscoveryServiceServer(g, s)
}

// DeltaAggregatedResources serves one stream until the proxy hangs up.
func (s *Server) DeltaAggregatedResources(
	rpc discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer,
) error {
	first, err := rpc.Recv()
	if err != nil {
		return ended(err)
	}
	id := first.GetNode().GetId()
	if id == "" {
		return status.Error(codes.InvalidArgument, "the first request of a stream must carry node.id")
	}
	st := &stream{
		srv: s, rpc: rpc, log: s.opts.Log.With("node", id), ses: s.store.connect(id, s.opts.Now()),
		subs:    make(map[model.ResourceType]*subscription),
		wants:   make(map[model.ResourceName]time.Time),
		force:   make(map[string]struct{}),
		retries: make(map[string]*retry),
	}
	s.counts.streams.Add(1)
	st.log.Info("proxy connected", "version", first.GetNode().GetUserAgentBuildVersion().GetVersion())
	st.report()
	err = st.run(first)
	s.store.disconnect(st.ses, s.opts.Now())
	s.counts.streams.Add(-1)
	st.log.Info("proxy disconnected", "cause", err)
	st.report()
	return err
}

// GRPCOptions returns what a gRPC server for proxies should be made with: room
// for the versions that a large proxy brings along, an end for streams whose
// peer vanished, and a codec that server names of clients cannot break.
func GRPCOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(64 << 20),
		grpc.MaxSendMsgSize(64 << 20),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}
}

// ListenUnix listens on a unix socket that only this user can open, whatever
// the umask. It replaces a socket that nobody listens on any more, and nothing
// else.
func ListenUnix(path string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("listen on unix socket %s: %w", path, err)
	}
	// Linux gives the file the mode of the unbound socket less the umask, so
	// there is no moment at which others could connect.
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var chmod error
		err := raw.Control(func(fd uintptr) { chmod = syscall.Fchmod(int(fd), 0o600) })
		return errors.Join(err, chmod)
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on unix socket %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("restrict unix socket %s: %w", path, err), l.Close())
	}
	return l, nil
}

func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is no socket is in the way")
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		return errors.Join(errors.New("another process listens there"), c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
