package pemfile

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

const (
	// eventBuffer lets a storm of events arrive as one batch.
	eventBuffer = 1024
	// maxLinks is how many symbolic links a path may go through, as in Linux.
	maxLinks = 40
)

// watcher is fsnotify with errors that wait for nobody: it may hold its lock while
// it reports one, which would block our next call for good. A nil watcher sees
// nothing.
type watcher struct {
	fs     *fsnotify.Watcher
	log    *slog.Logger
	faults chan error // holds one: it causes a look at everything
	done   chan struct{}
	warned bool
}

// openWatcher returns nil when the system has no watcher left to give.
func openWatcher(log *slog.Logger) *watcher {
	fs, err := fsnotify.NewBufferedWatcher(eventBuffer)
	if err != nil {
		log.Warn("files cannot be watched, changes are found by the periodic rescan", "error", err)
		return nil
	}
	w := &watcher{fs: fs, log: log, faults: make(chan error, 1), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for err := range w.fs.Errors {
			select {
			case w.faults <- err:
			default: // one is enough
			}
		}
	}()
	return w
}

func (w *watcher) close() {
	if w == nil {
		return
	}
	_ = w.fs.Close() // nothing to be done about a watcher that does not close
	<-w.done
}

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

// add watches a folder. Doing so again is cheap and finds the folder that has
// taken the place of another.
func (w *watcher) add(dir string) {
	if w == nil {
		return
	}
	err := w.fs.Add(dir)
	if err == nil || os.IsNotExist(err) || w.warned {
		return // what is gone again shows in the folder above
	}
	w.warned = true
	w.log.Warn("folder cannot be watched, its changes are found by the periodic rescan", "folder", dir, "error", err)
}

func (w *watcher) remove(dir string) {
	if w != nil {
		_ = w.fs.Remove(dir) // fails when the folder is gone, and its watch with it
	}
}

// follower knows on which names in which folders the paths depend.
type follower struct {
	watcher *watcher
	// steps holds, by path, the names that lead to the file, each as the path of
	// something in a folder without symbolic links.
	steps map[string][]string
	// users holds, by step, the paths that lead over it.
	users map[string]map[string]bool
	// folders counts the steps in each watched folder.
	folders map[string]int
}

func newFollower(w *watcher) *follower {
	return &follower{watcher: w, steps: map[string][]string{}, users: map[string]map[string]bool{}, folders: map[string]int{}}
}

// follow watches every folder on the way to path, also those to which symbolic
// links lead: a replaced link anywhere is a replaced file.
func (f *follower) follow(path string) {
	old := f.steps[path]
	steps := walk(path, f.watcher.add)
	f.steps[path] = steps
	for _, step := range steps {
		f.use(step, path)
	}
	f.release(path, old, steps)
}

// drop forgets path.
func (f *follower) drop(path string) {
	f.release(path, f.steps[path], nil)
	delete(f.steps, path)
}

func (f *follower) use(step, path string) {
	if f.users[step] == nil {
		f.users[step] = map[string]bool{}
		f.folders[filepath.Dir(step)]++
	}
	f.users[step][path] = true
}

// release takes path from the old steps that are not among those it has now.
func (f *follower) release(path string, old, now []string) {
	keep := map[string]bool{}
	for _, step := range now {
		keep[step] = true
	}
	for _, step := range old {
		if keep[step] || !f.users[step][path] {
			continue
		}
		delete(f.users[step], path)
		if len(f.users[step]) > 0 {
			continue
		}
		delete(f.users, step)
		dir := filepath.Dir(step)
		if f.folders[dir]--; f.folders[dir] == 0 {
			delete(f.folders, dir)
			f.watcher.remove(dir)
		}
	}
}

// touched adds the paths that an event concerns and reports whether it concerns
// any.
func (f *follower) touched(ev fsnotify.Event, paths map[string]bool) bool {
	users := f.users[filepath.Clean(ev.Name)]
	for path := range users {
		paths[path] = true
	}
	return len(users) > 0
}

// walk returns the names that lead to path, those of symbolic links among them,
// as far as they exist and the first that does not. It calls enter with each
// folder before it looks for a name there.
func walk(path string, enter func(dir string)) (steps []string) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil // without a working directory; reading fails as well
	}
	dir, rest, links := "/", strings.Split(abs, "/"), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			dir = filepath.Dir(dir)
			continue
		}
		enter(dir)
		step := filepath.Join(dir, name)
		steps = append(steps, step)
		info, err := os.Lstat(step)
		if err != nil {
			return steps
		}
		if info.Mode()&os.ModeSymlink == 0 {
			dir = step
			continue
		}
		target, err := os.Readlink(step)
		if links++; err != nil || links > maxLinks {
			return steps
		}
		if filepath.IsAbs(target) {
			dir = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return steps
}
