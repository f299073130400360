package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Bounds of what lies below one argument. Nobody's configuration reaches them,
// and a link to somewhere else on the machine does not get beyond.
const (
	maxNames = 200_000 // files, folders and links; names of any kind in one folder
	maxDepth = 32      // levels of folders
)

// listSlice is how many names are read from a folder at a time.
const listSlice = 4096

// identity is a real folder below an argument.
type identity struct {
	root   *root
	device uint64
	inode  uint64
}

func identityOf(r *root, info fs.FileInfo) identity {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{root: r}
	}
	return identity{r, uint64(st.Dev), st.Ino} //nolint:unconvert // Dev is smaller on other systems
}

// homes knows under which name each real folder is read: the first that led to
// it. The others wait for that name to go.
type homes struct {
	owner  map[identity]*entry
	others map[identity]map[key]bool
}

func (t *tree) visitFolder(b *batch, v visit, at trail) {
	e := t.entries[v.key]
	if e == nil {
		e = t.add(v.key)
	}
	known := e.isFolder && e.real == at.real && os.SameFile(e.info, at.info)
	fresh := !known || v.force || t.withheld(e)
	if !fresh && !v.rescan {
		return
	}
	if fresh && !t.enter(e, at) {
		return
	}
	t.settle(e, at.names, []string{e.real})
	listed, err := t.list(e)
	if err != nil {
		if !isGone(err) { // what is gone shows in the folder above
			t.fail(e, fmt.Sprintf("the folder cannot be listed (%s), what it last held stays in use; give read permission", cause(err)))
		}
		return
	}
	e.listed = true
	t.bounded(e, listed.rest)
	next := &b.queue
	if v.rescan && !fresh && t.returned[v.key.root] == nil {
		next = &t.later
	}
	for _, name := range listed.names {
		to := visit{key: v.key.child(name), force: fresh, rescan: v.rescan, listed: !e.children[name]}
		if to.listed {
			to.key.root.pending++
		}
		*next = append(*next, to)
	}
}

// enter makes a name that of the folder that it leads to now, unless that is
// not to be read.
func (t *tree) enter(e *entry, at trail) bool {
	if why := t.offLimits(e, at); why != "" {
		t.outside(e.key, why)
		return false
	}
	if e.isFolder {
		t.vacate(e)
	}
	if !t.own(e, at.info) {
		t.log.Debug("the folder is read under another name", "path", e.key.path())
		t.gone(e.key)
		return false
	}
	e.isFolder, e.real, e.info = true, at.real, at.info
	t.folders.add(e.real, e.key)
	t.watch.renew(e.real)
	return true
}

// own makes e the name under which its real folder is read, unless another is.
func (t *tree) own(e *entry, info fs.FileInfo) bool {
	id := identityOf(e.key.root, info)
	if o := t.homes.owner[id]; o != nil && o != e {
		if there, err := os.Lstat(o.real); err == nil && os.SameFile(there, info) {
			if t.homes.others[id] == nil {
				t.homes.others[id] = map[key]bool{}
			}
			t.homes.others[id][e.key] = true
			return false
		}
		t.gone(o.key) // the event that says so is on its way
		if t.entries[e.key] != e {
			return false
		}
	}
	t.homes.owner[id] = e
	return true
}

// vacate ends that e is the name of a folder; those that waited for that are
// looked at.
func (t *tree) vacate(e *entry) {
	t.folders.drop(e.real, e.key)
	id := identityOf(e.key.root, e.info)
	if t.homes.owner[id] == e {
		delete(t.homes.owner, id)
		for k := range t.homes.others[id] {
			t.later = append(t.later, visit{key: k, force: true})
		}
		delete(t.homes.others, id)
	}
	e.isFolder = false
}

// offLimits says why a folder is not read.
func (t *tree) offLimits(e *entry, at trail) string {
	if e.key.rel == "" {
		return ""
	}
	if strings.Count(e.key.rel, "/") >= maxDepth {
		return fmt.Sprintf("the folder lies more than %d levels deep and is not read; move it up", maxDepth)
	}
	var st unix.Statfs_t
	if unix.Statfs(at.real, &st) == nil && isKernels(int64(st.Type)) { //nolint:unconvert // Type is smaller on other systems
		return fmt.Sprintf("%s is the kernel's, no folder of files, and is not read; remove the link to it", at.real)
	}
	return ""
}

// isKernels reports whether a file system shows what the kernel knows.
func isKernels(magic int64) bool {
	switch magic {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
		unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC:
		return true
	}
	return false
}

// strays reports whether a link leads out of the folder argument and is not
// followed for that.
func (t *tree) strays(r *root, at trail) bool {
	if !t.inside {
		return false
	}
	top := t.entries[key{r, ""}].real
	return at.real != top && !strings.HasPrefix(at.real, strings.TrimSuffix(top, "/")+"/")
}

// outside deals with a name that leads where nothing is read.
func (t *tree) outside(k key, why string) {
	e := t.entries[k]
	if e != nil && e.isFolder {
		t.gone(k)
		e = nil
	}
	if e == nil {
		e = t.add(k)
	}
	t.settle(e, nil, nil)
	e.info = nil
	t.fail(e, why)
}

// listing is what is worth a look in a folder.
type listing struct {
	names []string
	rest  bool // there is more
}

// list returns the names of a folder to look at: files to read, folders and
// links, and what is known already. What is new comes as long as there is room.
func (t *tree) list(e *entry) (listing, error) {
	out := listing{names: slices.Sorted(maps.Keys(e.children))}
	f, err := os.Open(e.real)
	if err != nil {
		return out, err
	}
	defer f.Close()
	var fresh []string
	for seen := 0; ; {
		some, err := f.ReadDir(listSlice) // without the order of os.ReadDir, which costs much
		for _, d := range some {
			if name := d.Name(); !isHidden(name) && !e.children[name] && (isConfig(name) || !d.Type().IsRegular()) {
				fresh = append(fresh, name)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return out, err
		}
		if seen += len(some); seen > e.key.root.limit {
			out.rest = true
			break
		}
	}
	slices.Sort(fresh) // the first name of a folder is the same at every start
	if room := e.key.root.room(); len(fresh) > room {
		fresh, out.rest = fresh[:room], true
	}
	out.names = append(out.names, fresh...)
	return out, nil
}

// room is how many more names may be followed below an argument.
func (r *root) room() int { return max(r.limit-r.names-r.pending, 0) }

// bounded says that a folder holds more than is read, or no longer does.
func (t *tree) bounded(e *entry, rest bool) {
	switch {
	case rest:
		t.fail(e, fmt.Sprintf("there are more than %d names here, or below %s, and those that came last are not read; take away what is no configuration", e.key.root.limit, e.key.root.dir))
	case e.key.rel != "" || !t.returned[e.key.root].doubtful():
		t.tell(func(l *ledger) { l.recover(e.key) })
	}
}

// fail says why a folder or file cannot be read; its objects stay.
func (t *tree) fail(e *entry, why string) {
	t.tell(func(l *ledger) { l.fail(e.key, unreadable(e.key, why)) })
}
