package file

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// barrierLimit bounds the wait for the barrier's own event.
const barrierLimit = 50 * time.Millisecond

// barrier tells when every event of the past has been seen: it renames a file
// in a folder of its own that the same watcher watches, and the system delivers
// events in order. Without it, a file that refers to another could be read in
// its new version before the event of the other, written earlier, has come.
type barrier struct {
	dir  string // "" when there is none
	turn int
}

func newBarrier(fs *fsnotify.Watcher) *barrier {
	dir, err := os.MkdirTemp("", "sluice-events-")
	if err != nil {
		return &barrier{}
	}
	b := &barrier{dir: dir}
	if os.WriteFile(b.file(), nil, 0o600) != nil || fs.Add(dir) != nil {
		b.close()
	}
	return b
}

func (b *barrier) file() string { return filepath.Join(b.dir, fmt.Sprint(b.turn)) }

func (b *barrier) close() {
	if b.dir != "" {
		_ = os.RemoveAll(b.dir) // left to the system's cleaner if it fails
		b.dir = ""
	}
}

// past returns the events of all that happened before the call; what it cannot
// find out in time it leaves to the next round.
func (w *watcher) past() (out []fsnotify.Event) {
	if w == nil || w.barrier.dir == "" {
		return nil
	}
	before := w.barrier.file()
	w.barrier.turn++
	if os.Rename(before, w.barrier.file()) != nil {
		w.barrier.close()
		return nil
	}
	limit := time.NewTimer(barrierLimit)
	defer limit.Stop()
	for {
		select {
		case ev := <-w.fs.Events:
			if ev.Name == w.barrier.file() {
				return out
			}
			if filepath.Dir(ev.Name) != w.barrier.dir {
				out = append(out, ev)
			}
		case <-limit.C:
			return out
		}
	}
}
