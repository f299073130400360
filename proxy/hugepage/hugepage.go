// Package hugepage puts the memory of another process into huge pages.
//
// What goes in is a process id; what comes out is that its dense anonymous memory is
// in pages of 2 MB. An Envoy with a table for each of a thousand hosts touches a few
// dozen pages for every request, more than a processor can look up: with small pages
// that costs a twentieth of its throughput. Kernels whose mode is "madvise" give huge
// pages to those who ask, and Envoy does not ask.
//
// Source: process_madvise(2), MADV_COLLAPSE of madvise(2), since Linux 6.1.
package hugepage

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// Size is that of a huge page in bytes, on amd64 and on arm64 with small pages
	// of 4 KiB.
	Size = 2 << 20
	// small is the size of a small page.
	small = 4 << 10
	// dense is how many small pages of a huge one have to be there before it is made:
	// those that are not would be memory that nobody uses.
	dense = Size / small * 3 / 4
	// modeFile is where the kernel says who gets huge pages.
	modeFile = "/sys/kernel/mm/transparent_hugepage/enabled"
	// madvCollapse is MADV_COLLAPSE.
	madvCollapse = 25
)

// ErrUnavailable is returned where huge pages cannot be had for another process.
var ErrUnavailable = errors.New("huge pages are not available")

// Asked reports whether the kernel gives huge pages to those who ask. In its other
// modes there is nothing to do: everybody gets them, or nobody.
func Asked() bool {
	text, err := os.ReadFile(modeFile)
	return err == nil && strings.Contains(string(text), "[madvise]") && os.Getpagesize() == small
}

// InUse returns the bytes of a process's own memory that are in huge pages.
//
// Source: proc_pid_smaps_rollup(5): "AnonHugePages: 49152 kB".
func InUse(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "AnonHugePages:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("the kernel does not say how much of process %d is in huge pages", pid)
}

// Memory is the memory of another process. It is for one goroutine at a time.
type Memory struct {
	pid int
	// asked are the huge pages that were made, by address. Asking again would be in
	// vain, and cost as much.
	asked map[uint64]bool
}

// MemoryOf returns the memory of a process.
func MemoryOf(pid int) *Memory { return &Memory{pid: pid, asked: map[uint64]bool{}} }

// Collapse puts the dense memory that is new since the last call into huge pages.
// It rests after each for as long as it took. It returns ErrUnavailable if the kernel is
// too old or this process lacks CAP_SYS_NICE.
func (m *Memory) Collapse(ctx context.Context) error {
	handle, err := unix.PidfdOpen(m.pid, 0)
	if err != nil {
		return fmt.Errorf("open process %d: %w", m.pid, err)
	}
	defer unix.Close(handle)
	pages, err := densePages(m.pid)
	if err != nil {
		return fmt.Errorf("read the memory map of process %d: %w", m.pid, err)
	}
	for _, at := range pages {
		if m.asked[at] {
			continue
		}
		start := time.Now()
		switch err := collapse(handle, at); {
		case err == nil:
			m.asked[at] = true
		case errors.Is(err, unix.EPERM):
			return fmt.Errorf("%w: this needs CAP_SYS_NICE", ErrUnavailable)
		case errors.Is(err, unix.ENOSYS):
			return fmt.Errorf("%w: this needs Linux 6.1", ErrUnavailable)
		case errors.Is(err, unix.ESRCH):
			return fmt.Errorf("process %d is gone: %w", m.pid, err)
		} // any other: this page cannot be had now
		if !rest(ctx, time.Since(start)) {
			return ctx.Err()
		}
	}
	return nil
}

// rest waits, and reports whether ctx goes on.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// collapse makes one huge page of another process.
func collapse(handle int, at uint64) error {
	part := struct{ base, length uint64 }{at, Size}                                                                               // struct iovec of 64 bits
	_, _, code := unix.Syscall6(unix.SYS_PROCESS_MADVISE, uintptr(handle), uintptr(unsafe.Pointer(&part)), 1, madvCollapse, 0, 0) //nolint:gosec // a system call that x/sys has no function for
	if code != 0 {
		return code
	}
	return nil
}

// densePages returns the addresses of huge pages that would be full enough.
func densePages(pid int) ([]uint64, error) {
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	defer maps.Close()
	present, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	if err != nil {
		return nil, err
	}
	defer present.Close()
	var out []uint64
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		from, to := anonymous(lines.Text())
		for at := (from + Size - 1) / Size * Size; at+Size <= to; at += Size {
			if n, err := countPresent(present, at); err == nil && n >= dense {
				out = append(out, at)
			}
		}
	}
	return out, nil
}

// anonymous returns the bounds of a mapping of a process's own memory; zero for
// others.
//
// Source: proc_pid_maps(5): "address perms offset dev inode pathname".
func anonymous(line string) (from, to uint64) {
	fields := strings.Fields(line)
	if len(fields) < 5 || fields[1] != "rw-p" || fields[4] != "0" {
		return 0, 0
	}
	if len(fields) > 5 && fields[5] != "[heap]" && !strings.HasPrefix(fields[5], "[anon") {
		return 0, 0
	}
	first, last, _ := strings.Cut(fields[0], "-")
	from, err1 := strconv.ParseUint(first, 16, 64)
	to, err2 := strconv.ParseUint(last, 16, 64)
	if err1 != nil || err2 != nil {
		return 0, 0
	}
	return from, to
}

// countPresent returns how many small pages of a huge one are in memory.
//
// Source: the kernel's pagemap documentation: 8 bytes a page, bit 63 for those that
// are present.
func countPresent(pagemap io.ReaderAt, at uint64) (n int, err error) {
	const entry, bit = 8, 1 << 63
	buf := make([]byte, Size/small*entry)
	if _, err := pagemap.ReadAt(buf, int64(at/small*entry)); err != nil { //nolint:gosec // addresses of processes are below 2^57
		return 0, err
	}
	for i := 0; i < len(buf); i += entry {
		if binary.NativeEndian.Uint64(buf[i:])&bit != 0 {
			n++
		}
	}
	return n, nil
}
