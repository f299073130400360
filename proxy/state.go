package proxy

import (
	"fmt"
	"strings"
	"time"
)

// Phase is what the supervised Envoy is doing.
type Phase string

// The phases, in the order of a life.
const (
	// PhaseStarting: the process runs, its first configuration is not in yet.
	PhaseStarting Phase = "Starting"
	// PhaseRunning: it serves.
	PhaseRunning Phase = "Running"
	// PhaseRestarting: it serves while the next epoch starts, or the epoch
	// before drains.
	PhaseRestarting Phase = "Restarting"
	// PhaseBackingOff: it ended or could not start; see RetryAt and Reason.
	PhaseBackingOff Phase = "BackingOff"
	// PhaseDraining: told to stop, its connections finish.
	PhaseDraining Phase = "Draining"
	// PhaseStopped: not run yet, or over.
	PhaseStopped Phase = "Stopped"
)

// State is a snapshot of the supervised Envoy.
type State struct {
	Phase Phase `json:"phase"`
	// PID and Epoch are of the process that serves or starts; PID is 0 when
	// there is none.
	PID   int `json:"pid"`
	Epoch int `json:"epoch"`
	// Version is what the live process says of itself.
	Version string `json:"version"`
	// Adopted is true when this epoch took over an Envoy that outlived the
	// Sluice before.
	Adopted bool `json:"adopted,omitempty"`
	// Restarts counts starts after a crash or a start that went wrong,
	// HotRestarts those that kept the connections.
	Restarts    int `json:"restarts"`
	HotRestarts int `json:"hotRestarts"`
	// RetryAt and Reason are set in PhaseBackingOff: when the next start is
	// due, and a sentence with the exit status and Envoy's last words.
	RetryAt time.Time `json:"retryAt,omitzero"`
	Reason  string    `json:"reason,omitempty"`
	// LastExit is the last end that nobody asked for.
	LastExit *Exit `json:"lastExit,omitempty"`
}

// Exit is the end of a process.
type Exit struct {
	PID     int       `json:"pid"`
	Epoch   int       `json:"epoch"`
	Version string    `json:"version,omitempty"`
	At      time.Time `json:"at"`
	// Status is "exit status 1", "signal: killed" and the like.
	Status string `json:"status"`
	// Words are the last lines Envoy logged at warning level or above.
	Words []string `json:"words,omitempty"`
}

// Error says it as a sentence.
func (e *Exit) Error() string {
	s := fmt.Sprintf("envoy (pid %d, epoch %d) ended with %s", e.PID, e.Epoch, e.Status)
	if len(e.Words) > 0 {
		s += "; its last words: " + strings.Join(e.Words, " | ")
	}
	return s
}
