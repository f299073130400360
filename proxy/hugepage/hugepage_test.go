package hugepage

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// memoryEnv makes the test binary a process that has memory and does nothing.
const memoryEnv = "SLUICE_TEST_MEMORY"

func TestMain(m *testing.M) {
	if os.Getenv(memoryEnv) != "" {
		hold()
		return
	}
	os.Exit(m.Run())
}

// hold maps 16 MB of which every page is there, and 16 MB of which every second is;
// it names their addresses and waits for its end.
func hold() {
	for _, step := range []int{small, 2 * small} {
		memory, err := unix.Mmap(-1, 0, 16<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err == nil {
			err = unix.Madvise(memory, unix.MADV_NOHUGEPAGE) // whatever the mode, it begins small
		}
		if err != nil {
			panic(err)
		}
		for i := 0; i < len(memory); i += step {
			memory[i] = 1
		}
		if err := unix.Madvise(memory, unix.MADV_HUGEPAGE); err != nil {
			panic(err)
		}
		fmt.Printf("%p\n", &memory[0])
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
}

// other starts a process that holds memory and returns the addresses of it.
func other(t *testing.T) (pid int, full, half uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), memoryEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	var at []uint64
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		a, err := strconv.ParseUint(strings.TrimPrefix(lines.Text(), "0x"), 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, a)
	}
	if len(at) != 2 {
		t.Fatalf("the process names %d addresses", len(at))
	}
	return cmd.Process.Pid, at[0], at[1]
}

func TestDensePages(t *testing.T) {
	pid, full, half := other(t)
	pages, err := densePages(pid)
	if err != nil {
		t.Fatal(err)
	}
	in := func(from uint64) (n int) {
		for _, at := range pages {
			if at >= from && at < from+16<<20 {
				n++
			}
		}
		return n
	}
	if n := in(full); n < 7 { // 8, unless it begins inside of one
		t.Errorf("%d of 8 full pages are dense", n)
	}
	if n := in(half); n > 1 { // one may reach into what is beside it
		t.Errorf("%d pages that are half full are dense", n)
	}
}

// inUse returns how much memory of a process is in huge pages.
func inUse(t *testing.T, pid int) int64 {
	t.Helper()
	n, err := InUse(pid)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Where it can be done it is, and where not it is said.
func TestCollapse(t *testing.T) {
	pid, _, _ := other(t)
	memory := MemoryOf(pid)
	err := memory.Collapse(t.Context())
	first := inUse(t, pid)
	switch {
	case errors.Is(err, ErrUnavailable):
		if first != 0 {
			t.Errorf("%d bytes are in huge pages although %v", first, err)
		}
	case err != nil:
		t.Fatal(err)
	case first < 14<<20: // one at each end may not fit
		t.Errorf("%d bytes are in huge pages, want the 16 MB of which all is there", first)
	}
	known := len(memory.asked)
	if err := memory.Collapse(t.Context()); err == nil && (inUse(t, pid) < first || len(memory.asked) > known+1) {
		t.Errorf("%d bytes in %d pages were asked for after %d in %d", inUse(t, pid), len(memory.asked), first, known)
	}
}

func TestProcessesThatAreGone(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if err := MemoryOf(cmd.Process.Pid).Collapse(t.Context()); err == nil {
		t.Error("a process that is gone has huge pages")
	}
	if n, err := InUse(cmd.Process.Pid); err == nil {
		t.Errorf("a process that is gone has %d bytes in huge pages", n)
	}
}

func TestAnonymous(t *testing.T) {
	for line, want := range map[string][2]uint64{
		"72f6fd400000-72f700000000 rw-p 00000000 00:00 0":                        {0x72f6fd400000, 0x72f700000000},
		"55f000000000-55f000200000 rw-p 00000000 00:00 0          [heap]":        {0x55f000000000, 0x55f000200000},
		"55f000000000-55f000200000 rw-p 00000000 00:00 0 [anon:tcmalloc_region]": {0x55f000000000, 0x55f000200000},
		"7ffc00000000-7ffc00200000 rw-p 00000000 00:00 0          [stack]":       {},
		"55f038b3e000-55f03cca4000 r-xp 00000000 fe:00 123 /usr/bin/envoy":       {},
		"55f038b3e000-55f03cca4000 rw-p 00000000 fe:00 123 /usr/bin/envoy":       {},
		"55f038b3e000-55f03cca4000 rw-s 00000000 00:01 0":                        {},
		"garbage": {}, "": {}, "x-y rw-p 00000000 00:00 0": {},
	} {
		if from, to := anonymous(line); from != want[0] || to != want[1] {
			t.Errorf("%q: %x to %x", line, from, to)
		}
	}
}
