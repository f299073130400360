package proxy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// socketPathMax is what fits into sockaddr_un.sun_path with its final zero.
const socketPathMax = 107

// dataDir is a data directory that this process alone uses.
type dataDir struct {
	path string
	lock *os.File
}

// openDataDir makes the directory (owner only) and locks it. The lock ends
// with the process, however that ends.
func openDataDir(path string) (*dataDir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("resolve data directory %s: %w", path, err)
	}
	// The longest socket is one of Envoy's own for hot restart.
	if longest := abs + "/hot_udp_parent_18446744073709551615"; len(longest) > socketPathMax {
		return nil, fmt.Errorf("data directory %s: its path is %d bytes too long for unix sockets (%d at most); choose a shorter one",
			abs, len(longest)-socketPathMax, socketPathMax-len(longest)+len(abs))
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory %s: %w", abs, err)
	}
	d := &dataDir{path: abs}
	d.lock, err = os.OpenFile(d.file("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("use data directory %s: %w", abs, err)
	}
	if err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = d.lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s is in use by another Sluice; stop it or choose another directory", abs)
		}
		return nil, fmt.Errorf("lock data directory %s: %w", abs, err)
	}
	// Say who it is; this also finds a full disk before Envoy does.
	if err := d.write(d.file("pid"), []byte(strconv.Itoa(os.Getpid())+"\n")); err != nil {
		_ = d.lock.Close()
		return nil, fmt.Errorf("use data directory %s: %w", abs, err)
	}
	return d, nil
}

func (d *dataDir) close() { _ = d.lock.Close() }

func (d *dataDir) file(name string) string { return filepath.Join(d.path, name) }

func (d *dataDir) adminSocket(epoch int) string { return d.file(fmt.Sprintf("envoy-%d.sock", epoch)) }

func (d *dataDir) bootstrap(epoch int) string { return d.file(fmt.Sprintf("envoy-%d.json", epoch)) }

// drainFile holds 1 once an epoch drains; see overloadManager.
func (d *dataDir) drainFile(epoch int) string { return d.file(fmt.Sprintf("envoy-%d.drain", epoch)) }

// write replaces a file in one step: readers see the old or the new one.
func (d *dataDir) write(path string, content []byte) error {
	tmp, err := os.CreateTemp(d.path, ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// forget removes what an ended process left: its bootstrap, its admin socket
// and, when no epoch of its base id is left, the shared memory and sockets of
// hot restart. What is not there is fine.
func (d *dataDir) forget(p *process, last bool) {
	_ = os.Remove(p.admin)
	_ = os.Remove(d.bootstrap(p.epoch))
	_ = os.Remove(d.drainFile(p.epoch))
	if p.baseID == 0 || !last {
		return
	}
	_ = os.Remove(sharedMemory(p.baseID))
	sockets, _ := filepath.Glob(d.file("hot_*"))
	for _, s := range sockets {
		_ = os.Remove(s)
	}
}

// sharedMemory is the file of the memory that the epochs of a base id share.
// Envoy names it by ten times the base id.
func sharedMemory(baseID uint32) string {
	return fmt.Sprintf("/dev/shm/envoy_shared_memory_%d", uint64(baseID)*10)
}

// forgetBaseID removes the number of the Envoy before.
func (d *dataDir) forgetBaseID() { _ = os.Remove(d.file("base-id")) }

// sweep removes what a run that was killed left, once none of its Envoys lives.
func (d *dataDir) sweep() {
	if id, err := d.readBaseID(); err == nil {
		_ = os.Remove(sharedMemory(id))
	}
	for _, pattern := range []string{"hot_*", "envoy-*", ".new-*", "base-id"} {
		files, _ := filepath.Glob(d.file(pattern))
		for _, f := range files {
			_ = os.Remove(f)
		}
	}
}

// readBaseID reads the number that Envoy chose.
func (d *dataDir) readBaseID() (uint32, error) {
	raw, err := os.ReadFile(d.file("base-id"))
	if err != nil {
		return 0, fmt.Errorf("read base id: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("read base id: %w", err)
	}
	return uint32(n), nil
}
