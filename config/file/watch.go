package file

import (
	"log/slog"

	"github.com/fsnotify/fsnotify"
)

// eventBuffer lets a storm of events arrive as one batch.
const eventBuffer = 1024

// watcher watches folders by their real path, each as long as somebody uses
// it. Where the system refuses, changes are found by the periodic rescan. A
// nil watcher watches nothing.
type watcher struct {
	fs     *fsnotify.Watcher
	users  map[string]int
	log    *slog.Logger
	warned bool
	// faults holds one error when events may have been lost. The errors of
	// fsnotify pass through a goroutine because it may hold its lock while it
	// sends one, which would block our next call for good.
	faults  chan error
	done    chan struct{}
	barrier *barrier
}

// openWatcher returns nil when the system has no watcher left to give.
func openWatcher(log *slog.Logger) *watcher {
	fs, err := fsnotify.NewBufferedWatcher(eventBuffer)
	if err != nil {
		log.Warn("folders cannot be watched, changes are found by the periodic rescan", "error", err)
		return nil
	}
	w := &watcher{
		fs: fs, users: map[string]int{}, log: log, faults: make(chan error, 1), done: make(chan struct{}),
		barrier: newBarrier(fs),
	}
	go w.forward()
	return w
}

func (w *watcher) forward() {
	defer close(w.done)
	for err := range w.fs.Errors {
		select {
		case w.faults <- err:
		default: // one is enough: it causes a full rescan
		}
	}
}

func (w *watcher) close() {
	if w == nil {
		return
	}
	w.barrier.close()
	_ = w.fs.Close() // nothing to be done about a watcher that does not close
	<-w.done
}

// after returns how to look at a name at which one more thing happened.
func (v visit) after(ev fsnotify.Event) visit {
	v.force = v.force || ev.Has(fsnotify.Create) || ev.Has(fsnotify.Remove) || ev.Has(fsnotify.Rename)
	switch {
	case ev.Has(fsnotify.Create):
		v.whole, v.wrote = true, false
	case ev.Has(fsnotify.Write):
		v.whole, v.wrote = false, true
	}
	return v
}

// with returns how to look at a name that several paths lead to.
func (v visit) with(o visit) visit {
	v.force = v.force || o.force
	v.wrote = v.wrote || o.wrote
	v.whole = (v.whole || o.whole) && !v.wrote
	return v
}

// events and lost return channels to select on, nil without a watcher.
func (w *watcher) events() <-chan fsnotify.Event {
	if w == nil {
		return nil
	}
	return w.fs.Events
}

func (w *watcher) lost() <-chan error {
	if w == nil {
		return nil
	}
	return w.faults
}

// change moves a user from watching the old folders to watching the new ones.
// Folders in both are watched anew in case the folder was replaced.
func (w *watcher) change(old, now []string) {
	if w == nil {
		return
	}
	for _, dir := range now {
		w.users[dir]++
		w.add(dir)
	}
	for _, dir := range old {
		if w.users[dir]--; w.users[dir] <= 0 {
			delete(w.users, dir)
			_ = w.fs.Remove(dir) // fails when the folder is gone, and its watch with it
		}
	}
}

// renew watches dir, whose path now names another folder than before.
func (w *watcher) renew(dir string) {
	if w == nil {
		return
	}
	_ = w.fs.Remove(dir) // fails when the folder is gone, and its watch with it
	w.add(dir)
}

func (w *watcher) add(dir string) {
	err := w.fs.Add(dir)
	if err == nil || isGone(err) {
		return // what is gone again shows in the folder above
	}
	if !w.warned {
		w.warned = true
		w.log.Warn("folder cannot be watched, its changes are found by the periodic rescan", "folder", dir, "error", err)
	}
}
