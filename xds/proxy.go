package xds

import (
	"maps"
	"slices"
	"time"

	"github.com/sluicegw/sluice/model"
)

// Proxy is the state of one proxy, by node id. A proxy that restarts hot has
// two streams for a while; Acked and Since are those of the newest.
type Proxy struct {
	Node      string
	Connected bool
	// Since is when the newest stream began or, of a proxy that is gone, when
	// its last stream ended.
	Since time.Time
	// Acked is the highest generation of which everything, and everything
	// before, is answered: acknowledged, or rejected and narrowed down.
	Acked Generation
	// Streams counts open streams.
	Streams int
	// Rejections are resources whose current version the proxy refused, ordered
	// by resource. They outlive the stream.
	Rejections []Rejection
}

// Rejection is the refusal of one version of one resource by one proxy.
type Rejection struct {
	Resource model.ResourceName
	Hash     uint64      // of the refused version
	Owners   []model.Ref // as of the refused version
	Detail   string      // the proxy's words
	At       time.Time   // of the first refusal of this version
	// Serving is the hash of the version that stays in service, 0 if none.
	Serving uint64
	// Bind: the proxy cannot take the listener's address now. It is asked
	// again, with growing pauses, until it can.
	Bind bool
}

// Progress says that the state of a proxy changed.
type Progress struct {
	At    time.Time
	Proxy Proxy
}

// node is what the store knows of a proxy; guarded by the store's mutex.
type node struct {
	id         string
	sessions   []*session // open ones, oldest first
	since      time.Time  // end of the last session
	acked      Generation // of the newest session that ended last
	rejections map[model.ResourceName]Rejection
}

// session is one stream as the store knows it.
type session struct {
	node  *node
	since time.Time
	acked Generation // guarded by the store's mutex
}

func (s *Store) connect(id string, at time.Time) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[id]
	if n == nil {
		n = &node{id: id, rejections: make(map[model.ResourceName]Rejection)}
		s.nodes[id] = n
	}
	ses := &session{node: n, since: at}
	n.sessions = append(n.sessions, ses)
	return ses
}

func (s *Store) disconnect(ses *session, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := ses.node
	n.sessions = slices.DeleteFunc(n.sessions, func(o *session) bool { return o == ses })
	if len(n.sessions) == 0 {
		n.since, n.acked = at, ses.acked
	}
}

func (s *Store) setAcked(ses *session, g Generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ses.acked = g
}

func (s *Store) proxy(ses *session) Proxy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return ses.node.proxy()
}

func (n *node) proxy() Proxy {
	p := Proxy{Node: n.id, Since: n.since, Acked: n.acked, Streams: len(n.sessions)}
	if p.Streams > 0 {
		newest := n.sessions[p.Streams-1]
		p.Connected, p.Since, p.Acked = true, newest.since, newest.acked
	}
	p.Rejections = slices.SortedFunc(maps.Values(n.rejections), func(a, b Rejection) int {
		return a.Resource.Compare(b.Resource)
	})
	return p
}
