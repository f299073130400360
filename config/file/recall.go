package file

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"github.com/sluicegw/sluice/config/file/document"
	"github.com/sluicegw/sluice/config/file/keep"
	"github.com/sluicegw/sluice/model"
)

// Obstacle says why what is served may not be what the folders hold: some
// argument could not be listed since the start. It is "" from then on when each
// was. It may be called from any goroutine.
func (s *Source) Obstacle() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ledger.unlisted) == 0 {
		return ""
	}
	return "not read since the start, what it last held is served: " + strings.Join(s.ledger.unlisted, ", ")
}

// recall brings back what the arguments held in an earlier run, and returns what
// others held.
func (t *tree) recall(files []keep.File) (strange []keep.File) {
	byDir := map[string]*root{}
	for _, r := range t.roots {
		if byDir[r.abs] == nil {
			byDir[r.abs] = r
		}
	}
	t.tell(func(l *ledger) {
		for _, f := range files {
			r := byDir[f.Folder]
			if r == nil {
				strange = append(strange, keep.File{Folder: f.Folder, Name: f.Name})
				continue
			}
			l.recall(key{r, f.Name}, f.Objects)
			t.returned[r] = &homecome{}
		}
		clear(l.unsaved)
	})
	return strange
}

func (l *ledger) recall(k key, objects []keep.Object) {
	r := l.record(k)
	var docs []document.Object
	since := map[model.Ref]uint64{}
	for _, o := range objects {
		d, ok := document.Restore(model.Order{Path: k.order(), Index: o.Index}, o.Line, o.JSON)
		if !ok {
			continue
		}
		docs = append(docs, d)
		since[d.Ref] = o.Since
		l.seen[d.Ref] = o.Seen
		l.look = max(l.look, o.Seen, o.Since)
	}
	r.recalled = true
	l.claim(r, versions{objects: docs}, since)
}

// saved is a good version as it outlives this run.
func (l *ledger) saved(k key) keep.File {
	out := keep.File{Folder: k.root.abs, Name: k.rel}
	r := l.records[k]
	if r == nil {
		return out
	}
	for i := range r.objects {
		o := &r.objects[i]
		saved := keep.Object{Seen: l.seen[o.Ref], Index: o.Order.Index, Line: o.Line, JSON: o.JSON}
		for _, c := range l.claims[o.Ref] {
			if c.rec == r {
				saved.Since = c.seen
			}
		}
		out.Objects = append(out.Objects, saved)
	}
	return out
}

// saver keeps good versions on disk, behind the back of the loop.
type saver struct {
	log   *slog.Logger
	store *keep.Store
	wake  chan struct{}
	done  chan struct{}

	mu    sync.Mutex
	files map[string]keep.File
}

// openSaver returns what an earlier run kept. It returns a nil saver when there
// is no place to keep anything.
func (s *Source) openSaver() (*saver, []keep.File) {
	if s.opts.Keep == "" {
		return nil, nil
	}
	store, err := keep.Open(s.opts.Keep)
	if err != nil {
		text := fmt.Sprintf("what the folders hold cannot be kept for the next start: %v; give write permission", err)
		s.opts.Log.Warn("objects are not kept", "error", err)
		s.ledger.standing = append(s.ledger.standing, unkept(s.opts.Keep, text))
		return nil, nil
	}
	files, faults := store.Load()
	for _, err := range faults {
		text := fmt.Sprintf("what a file held before the restart is lost: %v; it was removed from there, bring the folder back to have it again", err)
		s.opts.Log.Warn("kept objects are lost", "error", err)
		s.ledger.lost = append(s.ledger.lost, unkept(s.opts.Keep, text))
	}
	v := &saver{log: s.opts.Log, store: store, wake: make(chan struct{}, 1), done: make(chan struct{}), files: map[string]keep.File{}}
	go v.run()
	return v, files
}

func unkept(dir, text string) model.Problem {
	return model.Problem{
		Object: document.FileRef(dir), Reason: model.ReasonUnreadableFile, Message: text,
		Severity: model.SeverityWarning, Place: model.Place{File: dir},
	}
}

func (v *saver) put(files []keep.File) {
	if v == nil || len(files) == 0 {
		return
	}
	v.mu.Lock()
	for _, f := range files {
		v.files[filepath.Join(f.Folder, f.Name)] = f
	}
	v.mu.Unlock()
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

func (v *saver) run() {
	defer close(v.done)
	warned := false
	for range v.wake {
		v.mu.Lock()
		files := v.files
		v.files = map[string]keep.File{}
		v.mu.Unlock()
		var fault error
		for _, f := range files {
			if err := v.store.Put(f); err != nil {
				fault = err
			}
		}
		if fault != nil && !warned {
			v.log.Warn("what folders hold cannot be kept for the next start", "error", fault)
		}
		warned = fault != nil
	}
}

// close returns once everything is on disk.
func (v *saver) close() {
	if v == nil {
		return
	}
	close(v.wake)
	<-v.done
}
