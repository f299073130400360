package main

import (
	"sync"

	"github.com/sluicegw/sluice/compile"
)

// mailbox takes facts from many senders for one reader. Sending never blocks: a
// sender may hold what the reader is waiting for.
type mailbox struct {
	mu    sync.Mutex
	facts []compile.Facts
	// wake has a token when there is something to take.
	wake chan struct{}
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (m *mailbox) put(f compile.Facts) {
	m.mu.Lock()
	m.facts = append(m.facts, f)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take returns what was put since the last call.
func (m *mailbox) take() []compile.Facts {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.facts
	m.facts = nil
	return out
}
