package loadtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is the unit of times in /proc/PID/stat: USER_HZ is 100 on every
// Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// processStat is what /proc/PID/stat tells.
type processStat struct {
	name   string
	parent int
	cpu    time.Duration // user and system, all threads
}

// parseStat reads a line of /proc/PID/stat. The name may hold spaces and
// parentheses, so fields are counted from the last parenthesis.
//
// Source: proc_pid_stat(5), fields 2, 4, 14 and 15.
func parseStat(line []byte) (processStat, error) {
	open, closing := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 0 || closing < open {
		return processStat{}, fmt.Errorf("parse process stat %q: no name", line)
	}
	fields := strings.Fields(string(line[closing+1:]))
	if len(fields) < 13 {
		return processStat{}, fmt.Errorf("parse process stat %q: too few fields", line)
	}
	var numbers [3]int
	for i, at := range []int{1, 11, 12} {
		n, err := strconv.Atoi(fields[at])
		if err != nil {
			return processStat{}, fmt.Errorf("parse process stat %q: %w", line, err)
		}
		numbers[i] = n
	}
	return processStat{
		name:   string(line[open+1 : closing]),
		parent: numbers[0],
		cpu:    time.Duration(numbers[1]+numbers[2]) * clockTick,
	}, nil
}

func statOf(pid int) (processStat, error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return processStat{}, fmt.Errorf("read process stat: %w", err)
	}
	return parseStat(line)
}

// parseMemory reads a field of /proc/PID/status, such as "VmRSS", in MB.
func parseMemory(status []byte, field string) (float64, error) {
	for line := range strings.Lines(string(status)) {
		rest, ok := strings.CutPrefix(line, field+":")
		if !ok {
			continue
		}
		kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
		if err != nil {
			return 0, fmt.Errorf("parse process memory %q: %w", line, err)
		}
		return kb / 1024, nil
	}
	return 0, fmt.Errorf("process status has no %s", field)
}

// memoryOf returns the resident and the peak resident memory in MB.
func memoryOf(pid int) (rss, peak float64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read process memory: %w", err)
	}
	if rss, err = parseMemory(status, "VmRSS"); err != nil {
		return 0, 0, err
	}
	peak, err = parseMemory(status, "VmHWM")
	return rss, peak, err
}

// envoyOf returns the Envoy that a process supervises: its youngest descendant
// whose name starts with "envoy".
func envoyOf(ancestor int) (int, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	parents, names := map[int]int{}, map[int]string{}
	for _, path := range paths {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if s, err := statOf(pid); err == nil { // else it is gone
			parents[pid], names[pid] = s.parent, s.name
		}
	}
	found := 0
	for pid, name := range names {
		if strings.HasPrefix(name, "envoy") && descends(pid, ancestor, parents) {
			found = max(found, pid)
		}
	}
	if found == 0 {
		return 0, fmt.Errorf("process %d has no Envoy", ancestor)
	}
	return found, nil
}

func descends(pid, ancestor int, parents map[int]int) bool {
	for pid > 1 {
		if pid = parents[pid]; pid == ancestor {
			return true
		}
	}
	return false
}

// pin binds every thread of a process to some cores. Threads that are gone
// meanwhile are passed over.
func pin(pid int, cores unix.CPUSet) error {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return fmt.Errorf("list the threads of process %d: %w", pid, err)
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			return fmt.Errorf("list the threads of process %d: %w", pid, err)
		}
		if err := unix.SchedSetaffinity(tid, &cores); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("pin thread %d of process %d: %w", tid, pid, err)
		}
	}
	return nil
}
