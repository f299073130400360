package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// tree is what the folders look like: which files and folders there are, where
// links lead, and which names would change that. It turns names into reads and
// tells the ledger what came of them. One goroutine uses it.
type tree struct {
	roots    []*root
	entries  map[key]*entry
	folders  interest // real path of a folder → its keys
	names    interest // any other path → keys that look different when it changes
	watch    *watcher
	read     *reader
	ledger   *ledger
	mu       sync.Locker // guards the ledger, which others read
	log      *slog.Logger
	homes    homes
	inside   bool                // see [Options.StayInside]
	empty    time.Duration       // how long an argument has to be empty to count; see [homecome]
	later    []visit             // what is still to be looked at, slice by slice
	rescans  int                 // that have begun
	returned map[*root]*homecome // arguments that were gone and are back
}

// entry is a file or folder that is followed.
type entry struct {
	key      key
	parent   *entry
	isFolder bool
	listed   bool // its names were read
	real     string
	// info is the folder, or the file as it was last read; nil asks to read.
	info     fs.FileInfo
	settled  bool // see [reading.settled]
	children map[string]bool
	trail    []string // see [trail]; nil when no link leads here
	watched  []string
}

// homecome is the state of an argument that was gone and is back, or that is
// looked at for the first time after a restart.
type homecome struct {
	empty     time.Time // since when nothing is in it
	confirmed bool      // a later rescan found it so, too
}

// doubtful reports whether an argument is empty and that does not count yet.
func (h *homecome) doubtful() bool { return h != nil && !h.empty.IsZero() }

type interest map[string]map[key]bool

func (i interest) add(path string, k key) {
	if i[path] == nil {
		i[path] = map[key]bool{}
	}
	i[path][k] = true
}

func (i interest) drop(path string, k key) {
	delete(i[path], k)
	if len(i[path]) == 0 {
		delete(i, path)
	}
}

// visit asks to look at a name.
type visit struct {
	key    key
	force  bool // the name was made or removed: the folder may be another one
	whole  bool // the name was made, and nothing was written there since
	wrote  bool // something was written there
	rescan bool // the periodic rescan asks
	listed bool // it counts as pending
}

// batch is a round of visits and the reads that they lead to.
type batch struct {
	queue []visit
	jobs  []job
	asked map[key]bool
}

// walk looks at all there is for the first time, until ctx ends.
func (t *tree) walk(ctx context.Context) {
	t.process(t.start())
	for len(t.later) > 0 && ctx.Err() == nil {
		t.proceed()
	}
}

// start puts the arguments in place.
func (t *tree) start() []visit {
	var out []visit
	for _, r := range t.roots {
		k := key{r, ""}
		t.entries[k] = &entry{key: k}
		out = append(out, visit{key: k})
	}
	return out
}

// tell changes the ledger. Only the goroutine of the tree does, so it reads
// without a lock.
func (t *tree) tell(change func(*ledger)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(t.ledger)
}

// walkSlice bounds what one round looks at beside what it was asked for.
const walkSlice = 1024

// process looks at every visit and at what it leads to, reads what needs
// reading and brings the ledger up to date. What is too much for one round is
// left for later.
func (t *tree) process(visits []visit) {
	b := batch{queue: visits, asked: map[key]bool{}}
	end := len(visits) + walkSlice
	for i := 0; i < min(len(b.queue), end); i++ {
		t.visit(&b, b.queue[i])
	}
	if len(b.queue) > end {
		t.later = append(b.queue[end:len(b.queue):len(b.queue)], t.later...)
	}
	readings := t.read.all(b.jobs)
	for i := range readings {
		t.apply(&readings[i])
	}
	if len(t.returned) > 0 && len(t.later) == 0 {
		t.welcome()
	}
	t.listed()
}

// affected returns what to look at, and how, when events name a path.
func (t *tree) affected(path string, how visit) (out []visit) {
	dir, base := filepath.Split(path)
	if !isHidden(base) {
		for k := range t.folders[filepath.Clean(dir)] {
			how.key = k.child(base)
			out = append(out, how)
		}
	}
	for k := range t.names[path] {
		how.key = k
		out = append(out, how)
	}
	return out
}

// rescan starts to look at everything again, unless that is under way.
func (t *tree) rescan() {
	if len(t.later) > 0 {
		return
	}
	t.rescans++
	for _, r := range t.roots {
		t.later = append(t.later, visit{key: key{r, ""}, rescan: true})
	}
}

// rescanSlice bounds how many files one such round looks at, so that a rescan of
// thousands never holds up an event.
const rescanSlice = 64

// proceed does the next round of what was left for later.
func (t *tree) proceed() {
	n := min(rescanSlice, len(t.later))
	visits := slices.Clone(t.later[:n])
	if t.later = t.later[n:]; len(t.later) == 0 {
		t.later = nil
	}
	t.process(visits)
}

func (t *tree) visit(b *batch, v visit) {
	if v.listed {
		v.key.root.pending--
	}
	if v.key.rel == "" {
		t.visitRoot(b, v)
		return
	}
	parent := t.entries[v.key.parent()]
	if parent == nil || !parent.isFolder {
		return
	}
	if t.entries[v.key] == nil && v.key.root.room() == 0 {
		t.bounded(parent, true)
		return
	}
	base := v.key.base()
	at := trail{real: filepath.Join(parent.real, base)}
	var err error
	if at.info, err = os.Lstat(at.real); err != nil {
		t.unseen(v.key, err)
		return
	}
	if at.info.Mode()&fs.ModeSymlink != 0 {
		if at, err = follow(parent.real, base); err != nil {
			t.dangling(v.key, at, err)
			return
		}
	}
	switch {
	case t.strays(v.key.root, at) && (isConfig(base) || at.info.IsDir()):
		t.outside(v.key, fmt.Sprintf("the link leads out of %s, to %s, and is not followed; put what it leads to below the folder, name that folder as an argument, or run with --stay-inside=false", v.key.root.dir, at.real))
	case isConfig(base):
		t.visitFile(b, v, at)
	case at.info.IsDir():
		t.visitFolder(b, v, at)
	default:
		t.gone(v.key)
	}
}

func (t *tree) visitRoot(b *batch, v visit) {
	e := t.entries[v.key]
	at, err := follow("/", v.key.root.abs)
	if err == nil && !at.info.IsDir() {
		err = unix.ENOTDIR
	}
	if err != nil {
		t.settle(e, at.names, nil)
		t.lose(e, err)
		return
	}
	if home := t.returned[v.key.root]; home != nil {
		home.confirmed = t.empty == 0 || v.rescan && home.doubtful() && t.read.now().Sub(home.empty) >= t.empty
	} else if (v.force || e.info == nil || !os.SameFile(e.info, at.info)) && len(t.ledger.below(v.key.root)) > 0 {
		t.returned[v.key.root] = &homecome{confirmed: t.empty == 0}
	}
	t.visitFolder(b, v, at)
}

// lose takes note that a folder argument is gone. Nothing of it is removed.
func (t *tree) lose(e *entry, err error) {
	for name := range e.children {
		t.forget(t.entries[e.key.child(name)], false)
	}
	if e.isFolder {
		t.vacate(e)
	}
	e.info, e.listed = nil, false
	delete(t.returned, e.key.root)
	t.tell(func(l *ledger) { l.stayAll(e.key.root) })
	t.fail(e, fmt.Sprintf("the folder cannot be used (%s), what it last held stays in use; bring it back or leave it out of the arguments", cause(err)))
}

// welcome decides about the files that did not come back with an argument: they
// go, unless the argument is empty, which may be a volume that is not mounted
// yet and counts only when a later rescan finds the same. Those below a folder
// that cannot be read wait for it.
func (t *tree) welcome() {
	for r, home := range t.returned {
		missing, hidden := t.missing(r)
		if len(missing) > 0 && !home.confirmed && !t.holdsFiles(r) {
			if home.empty.IsZero() {
				home.empty = t.read.now()
			}
			t.tell(func(l *ledger) { l.stayAll(r) })
			t.fail(t.entries[key{r, ""}], fmt.Sprintf("the folder was gone and is back empty, or is empty after a restart; what it last held stays in use, for %v unless its files come back; put them back, or say that it is meant with --allow-empty", t.empty))
			continue
		}
		if home.empty = (time.Time{}); !hidden {
			delete(t.returned, r)
		}
		t.tell(func(l *ledger) {
			for _, k := range missing {
				l.leave(k)
			}
			l.recover(key{r, ""})
		})
	}
}

// missing returns the files of an argument that the ledger knows and the tree
// does not. Those that may be in a folder that cannot be read are hidden.
func (t *tree) missing(r *root) (out []key, hidden bool) {
	for _, k := range t.ledger.below(r) {
		switch {
		case t.entries[k] != nil:
		case t.behind(k):
			hidden = true
		default:
			out = append(out, k)
		}
	}
	return out, hidden
}

// behind reports whether a folder above a name cannot be read.
func (t *tree) behind(k key) bool {
	for k.rel != "" {
		k = k.parent()
		r := t.ledger.records[k]
		if r != nil && r.fault != nil && (k.rel != "" || !t.returned[k.root].doubtful()) {
			return true
		}
	}
	return false
}

// listed takes note of the arguments that were listed.
func (t *tree) listed() {
	if len(t.ledger.unlisted) == 0 || len(t.later) > 0 {
		return
	}
	var out []string
	for _, r := range t.roots {
		if e := t.entries[key{r, ""}]; !r.listed && (!e.listed || t.returned[r].doubtful()) {
			out = append(out, r.dir)
		} else {
			r.listed = true
		}
	}
	t.tell(func(l *ledger) {
		if l.unlisted = out; len(out) == 0 {
			l.lost = nil
		}
	})
}

// holdsFiles reports whether an argument holds any file to read.
func (t *tree) holdsFiles(r *root) bool {
	for k := range t.entries {
		if k.root == r && isConfig(k.base()) {
			return true
		}
	}
	return false
}

func (t *tree) visitFile(b *batch, v visit, at trail) {
	e := t.entries[v.key]
	if e == nil {
		e = t.add(v.key)
	}
	t.settle(e, at.names, nil)
	if err := t.read.acceptable(at.info); err != nil {
		t.failFile(e, err)
		return
	}
	if e.info != nil && e.settled && unchanged(e.info, at.info) {
		return
	}
	if b.asked[v.key] {
		return
	}
	b.asked[v.key] = true
	j := job{key: v.key, real: at.real, whole: v.whole, wrote: v.wrote}
	if r := t.ledger.records[v.key]; r != nil && r.fault == nil {
		j.hash, j.known = r.hash, r.read
	}
	b.jobs = append(b.jobs, j)
}

// apply tells the ledger what was read.
func (t *tree) apply(r *reading) {
	e := t.entries[r.key]
	if e == nil {
		return
	}
	if r.err != nil {
		if errors.Is(r.err, fs.ErrNotExist) {
			t.gone(r.key)
			return
		}
		t.failFile(e, r.err)
		return
	}
	touched := r.whole || r.wrote || e.info == nil || !unchanged(e.info, r.info)
	e.info, e.settled = r.info, r.settled()
	t.tell(func(l *ledger) {
		if r.same() {
			l.same(r, touched)
		} else {
			l.put(r)
		}
	})
}

func (t *tree) failFile(e *entry, err error) {
	e.info = nil
	t.fail(e, fmt.Sprintf("the file cannot be read: %s", cause(err)))
}

// unseen deals with a name that cannot be looked at.
func (t *tree) unseen(k key, err error) {
	if isGone(err) {
		t.gone(k)
		return
	}
	if e := t.entries[k]; e != nil && isConfig(k.base()) {
		t.failFile(e, err)
	}
}

// dangling deals with a link to nothing.
func (t *tree) dangling(k key, at trail, err error) {
	e := t.entries[k]
	if e != nil && e.isFolder {
		t.gone(k)
		e = nil
	}
	if e == nil {
		e = t.add(k)
	}
	t.settle(e, at.names, nil)
	if isConfig(k.base()) {
		t.failFile(e, fmt.Errorf("it is a link that leads nowhere (%s); point it at a file or remove it", cause(err)))
	}
}

// gone deals with a name that is no longer there, or no longer of interest.
func (t *tree) gone(k key) {
	if e := t.entries[k]; e != nil {
		t.forget(e, true)
		return
	}
	t.tell(func(l *ledger) { l.leave(k) })
}

func (t *tree) add(k key) *entry {
	e := &entry{key: k, parent: t.entries[k.parent()]}
	if e.parent.children == nil {
		e.parent.children = map[string]bool{}
	}
	e.parent.children[k.base()] = true
	t.entries[k] = e
	k.root.names++
	return e
}

// forget drops an entry and all below it. With leave their files are gone,
// else merely out of sight.
func (t *tree) forget(e *entry, leave bool) {
	for name := range e.children {
		t.forget(t.entries[e.key.child(name)], leave)
	}
	if e.isFolder {
		t.vacate(e)
	}
	t.settle(e, nil, nil)
	delete(e.parent.children, e.key.base())
	delete(t.entries, e.key)
	e.key.root.names--
	if leave {
		t.tell(func(l *ledger) { l.leave(e.key) })
	}
}

// settle watches and remembers the names that decide what e is: those of its
// trail, the folders they are in, and the folders given.
func (t *tree) settle(e *entry, names, folders []string) {
	watched := slices.Clone(folders)
	for _, name := range names {
		watched = append(watched, filepath.Dir(name))
	}
	slices.Sort(watched)
	watched = slices.Compact(watched)
	if len(watched) == 0 && len(e.watched) == 0 {
		return
	}
	for _, set := range [][]string{e.trail, e.watched} {
		for _, name := range set {
			t.names.drop(name, e.key)
		}
	}
	t.watch.change(e.watched, watched)
	e.trail, e.watched = names, watched
	for _, set := range [][]string{names, watched} {
		for _, name := range set {
			t.names.add(name, e.key)
		}
	}
}
