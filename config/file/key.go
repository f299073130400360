package file

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// root is one folder argument.
type root struct {
	index int    // place among the arguments
	dir   string // as given
	abs   string // absolute

	listed  bool // it was, once
	limit   int  // of names and pending
	names   int  // files, folders and links below it that are followed
	pending int  // that were listed and not yet looked at
}

// key is one file or folder as it is reached below an argument: "" is the
// argument itself. Links are not resolved in it.
type key struct {
	root *root
	rel  string // slash-separated
}

func (k key) child(name string) key {
	if k.rel == "" {
		return key{k.root, name}
	}
	return key{k.root, k.rel + "/" + name}
}

func (k key) parent() key {
	i := strings.LastIndexByte(k.rel, '/')
	return key{k.root, k.rel[:max(i, 0)]}
}

func (k key) base() string { return k.rel[strings.LastIndexByte(k.rel, '/')+1:] }

// path is how people know the file.
func (k key) path() string { return filepath.Join(k.root.dir, filepath.FromSlash(k.rel)) }

// order is the key as [model.Order] has it: the place of the folder among the
// arguments, then the path below it, for example "0000:shop/gateway.yaml". It
// does not depend on where the folder lies, so two processes that read the
// same folder by different names agree on every hash.
func (k key) order() string { return fmt.Sprintf("%04d:%s", k.root.index, k.rel) }

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.root.index, o.root.index), strings.Compare(k.rel, o.rel))
}

// isConfig reports whether a name is that of a file to read.
func isConfig(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// isHidden reports whether a name is passed over: editors' swap files, .git,
// and the folders behind the links of a Kubernetes volume.
func isHidden(name string) bool { return strings.HasPrefix(name, ".") }

// maxLinks bounds how many links one path may go through, as Linux does.
const maxLinks = 40

// trail is what a path leads to. names are the absolute paths that decide
// that: every link on the way, and the target or the first part that is
// missing. They are set even when following failed.
type trail struct {
	real  string
	info  fs.FileInfo
	names []string
}

// follow resolves path, which is taken from the folder from; from itself holds
// no links.
func follow(from, path string) (trail, error) {
	var t trail
	cur, rest := from, split(path)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			cur = filepath.Dir(cur)
			continue
		}
		next := filepath.Join(cur, name)
		info, err := os.Lstat(next)
		if err != nil {
			t.names = append(t.names, next)
			return t, err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			cur, t.info = next, info
			continue
		}
		t.names = append(t.names, next)
		if links++; links > maxLinks {
			return t, &fs.PathError{Op: "follow", Path: next, Err: unix.ELOOP}
		}
		to, err := os.Readlink(next)
		if err != nil {
			return t, err
		}
		if filepath.IsAbs(to) {
			cur = "/"
		}
		rest = append(split(to), rest...)
	}
	var err error
	if t.info, err = os.Lstat(cur); err != nil { // the path may have ended in ".."
		return t, err
	}
	t.real, t.names = cur, append(t.names, cur)
	return t, nil
}

// split returns the parts of a path without empty ones and ".".
func split(path string) []string {
	var out []string
	for part := range strings.SplitSeq(path, "/") {
		if part != "" && part != "." {
			out = append(out, part)
		}
	}
	return out
}
