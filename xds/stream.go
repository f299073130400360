package xds

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluicegw/sluice/model"
)

// stream is one delta ADS stream. Everything in it belongs to the goroutine of
// its handler, which also sends: a proxy that stops reading blocks its own
// stream and nothing else.
type stream struct {
	srv  *Server
	rpc  discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	log  *slog.Logger
	ses  *session
	view *view
	subs map[model.ResourceType]*subscription

	seq    uint64      // of the last response
	flight []*response // unanswered, in the order sent
	round  *round      // nil between rounds
	err    error       // of the first send that failed

	// wants is what the proxy is expected to ask for, and until when.
	wants         map[model.ResourceName]time.Time
	wantsDue      time.Time
	scopesAwaited bool
	left          *delta              // what the proxy brought and has to change; see rejoin.go
	force         map[string]struct{} // endpoints to send even if unchanged
	retries       map[string]*retry   // listeners that wait for their address

	// complete is the generation of the last round that ended.
	complete Generation
	acked    Generation
	synced   bool // the proxy has what it asked for at first
}

// run serves the stream until it ends. first is its first request.
func (s *stream) run(first *discovery.DeltaDiscoveryRequest) error {
	ctx := s.rpc.Context()
	requests := make(chan *discovery.DeltaDiscoveryRequest)
	failed := make(chan error, 1)
	go receive(s.rpc, requests, failed)

	select {
	case <-s.srv.store.ready:
	case err := <-failed:
		return ended(err)
	case <-ctx.Done():
		return ended(ctx.Err())
	}
	s.view = s.srv.store.attach()
	defer s.srv.store.detach(s.view)
	s.complete = s.view.gen

	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for req := first; ; req = nil {
		if req == nil {
			select {
			case req = <-requests:
			case <-s.view.wake:
			case now := <-alarm.C:
				s.expire(now)
			case err := <-failed:
				return ended(err)
			case <-ctx.Done():
				return ended(ctx.Err())
			}
		}
		if req != nil {
			if req.GetTypeUrl() == "" {
				return status.Error(codes.InvalidArgument, "request without type_url")
			}
			s.handle(req)
		}
		s.advance()
		if s.err != nil {
			return ended(s.err)
		}
		if at := s.due(); !at.IsZero() {
			alarm.Reset(time.Until(at))
		}
	}
}

// receive hands on requests until the stream ends.
func receive(
	rpc discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer,
	requests chan<- *discovery.DeltaDiscoveryRequest, failed chan<- error,
) {
	for {
		req, err := rpc.Recv()
		if err != nil {
			failed <- err
			return
		}
		select {
		case requests <- req:
		case <-rpc.Context().Done():
			return
		}
	}
}

// ended returns what the handler returns for the cause of a stream's end: a
// peer that hangs up is no error.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}

// report tells the owner about the state of the stream's proxy.
func (s *stream) report() {
	if s.srv.opts.OnProgress != nil {
		s.srv.opts.OnProgress(Progress{At: s.srv.opts.Now(), Proxy: s.srv.store.proxy(s.ses)})
	}
}
