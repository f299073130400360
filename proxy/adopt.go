package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// record is one Envoy in the state file. PID, Start and Boot together name a
// process for good: a number that was given away again has another start.
type record struct {
	PID int `json:"pid"`
	// Start is field 22 of /proc/PID/stat, in clock ticks since Boot.
	Start uint64 `json:"start"`
	// Boot is the kernel's random boot_id.
	Boot       string `json:"boot"`
	BaseID     uint32 `json:"baseId"`
	Epoch      int    `json:"epoch"`
	Version    string `json:"version"`
	HotRestart string `json:"hotRestart"`
	// Live is false while the process has not served yet: such a one is not
	// adopted but ended.
	Live bool `json:"live"`
}

const stateFile = "envoy-state.json"

// remember writes the state file: all Envoys that would outlive this process.
func (d *dataDir) remember(ps ...*process) error {
	records := []record{}
	boot := bootID()
	for _, p := range ps {
		if p == nil {
			continue
		}
		startTime, ok := startTime(p.pid)
		if !ok {
			continue
		}
		records = append(records, record{
			PID: p.pid, Start: startTime, Boot: boot, BaseID: p.baseID, Epoch: p.epoch,
			Version: p.version, HotRestart: p.hotRestart, Live: !p.liveAt.IsZero(),
		})
	}
	raw, err := json.MarshalIndent(records, "", "  ")
	if err != nil {
		return fmt.Errorf("render %s: %w", stateFile, err)
	}
	return d.write(d.file(stateFile), append(raw, '\n'))
}

// recall returns the Envoys of the state file that are still the same running
// processes. A missing file is an empty one.
func (d *dataDir) recall() ([]record, error) {
	raw, err := os.ReadFile(d.file(stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state of the Envoy before: %w", err)
	}
	var all, alive []record
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("read state of the Envoy before from %s: %w", d.file(stateFile), err)
	}
	boot := bootID()
	for _, r := range all {
		if r.PID <= 1 || r.Boot != boot {
			continue
		}
		if s, ok := startTime(r.PID); ok && s == r.Start {
			alive = append(alive, r)
		}
	}
	return alive, nil
}

// adopt returns a running process as one of ours.
func adopt(ctx context.Context, r record, d *dataDir) (*process, error) {
	p := &process{
		epoch: r.Epoch, baseID: r.BaseID, admin: d.adminSocket(r.Epoch),
		version: r.Version, hotRestart: r.HotRestart, adopted: true, done: make(chan struct{}),
	}
	if r.Live {
		p.liveAt = time.Now()
	}
	if err := p.attach(r.PID, r.Start); err != nil {
		return nil, fmt.Errorf("adopt: %w", err)
	}
	go func() {
		if !gone(ctx, r.PID, r.Start) {
			return
		}
		p.exit = Exit{PID: r.PID, Epoch: r.Epoch, Version: r.Version, At: time.Now(), Status: unknownStatus}
		close(p.done)
	}()
	return p, nil
}

// startTime returns when a process started, in clock ticks since boot, and
// false if there is none or only its zombie is left.
func startTime(pid int) (uint64, bool) {
	fields := stat(pid)
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	n, err := strconv.ParseUint(fields[19], 10, 64)
	return n, err == nil
}

// stat returns what the kernel knows of a process, from its state on; none if
// there is no such process.
//
// Source: proc_pid_stat(5): field 3 is the state, 22 the start.
func stat(pid int) []string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	// The name, field 2, is in parentheses and may hold anything.
	return strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
}

// bootID tells one boot of this machine from another; empty if unknown.
func bootID() string {
	raw, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw))
}
