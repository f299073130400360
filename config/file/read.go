package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"github.com/sluicegw/sluice/config/file/document"
	"github.com/sluicegw/sluice/model"
)

// settleTime is how long a file must have been left alone before its
// modification time is trusted to tell the next change: clocks of file systems
// are coarse.
const settleTime = 2 * time.Second

// job is a file to read.
type job struct {
	key   key
	real  string // where it is, links resolved
	hash  uint64 // of what is known of it
	known bool   // hash is set
	whole bool   // see [visit]
	wrote bool
}

// reading is what came of a job.
type reading struct {
	job
	info    fs.FileInfo // of the open file; nil when err is set
	at      time.Time
	hash    uint64
	content document.Content // unset when the hash is the known one
	err     error
}

// same reports that the file holds the bytes it held.
func (r *reading) same() bool { return r.known && r.job.hash == r.hash }

// settled reports that a file with the same time and size has the same bytes.
func (r *reading) settled() bool { return r.at.Sub(r.info.ModTime()) > settleTime }

// reader reads and parses files. It may be used by several goroutines.
type reader struct {
	maxBytes int64
	now      func() time.Time
	opened   atomic.Int64 // how many files were read
}

// all does jobs on all processors and returns the readings in their order.
func (r *reader) all(jobs []job) []reading {
	out := make([]reading, len(jobs))
	workers := min(runtime.GOMAXPROCS(0), len(jobs))
	if workers <= 1 {
		for i, j := range jobs {
			out[i] = r.read(j)
		}
		return out
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(jobs)); i = next.Add(1) - 1 {
				out[i] = r.read(jobs[i])
			}
		})
	}
	wg.Wait()
	return out
}

func (r *reader) read(j job) reading {
	out := reading{job: j, at: r.now()}
	data, info, err := r.load(j.real)
	if err != nil {
		out.err = err
		return out
	}
	out.info, out.hash = info, xxhash.Sum64(data)
	if !out.same() {
		out.content = document.Parse(document.Origin{Path: j.key.path(), Order: j.key.order()}, data)
	}
	return out
}

// attempts is how often a file that changes while it is read is read again.
const attempts = 3

// load returns the bytes of a regular file. It never blocks on a pipe, and
// reads no file larger than maxBytes.
func (r *reader) load(path string) ([]byte, fs.FileInfo, error) {
	r.opened.Add(1)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	for try := 1; ; try++ {
		before, err := f.Stat()
		if err != nil {
			return nil, nil, err
		}
		if err := r.acceptable(before); err != nil {
			return nil, nil, err
		}
		data := make([]byte, 0, before.Size()+1)
		data, err = appendAll(data, io.NewSectionReader(f, 0, r.maxBytes+1))
		if err != nil {
			return nil, nil, err
		}
		after, err := f.Stat()
		if err != nil {
			return nil, nil, err
		}
		if err := r.acceptable(after); err != nil {
			return nil, nil, err
		}
		if unchanged(before, after) || try == attempts {
			return data, before, nil
		}
	}
}

// appendAll is io.ReadAll into a buffer that mostly fits already.
func appendAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// acceptable says why something is not read at all.
func (r *reader) acceptable(info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return errors.New("it is a folder; rename it, or put a file in its place")
	case !info.Mode().IsRegular():
		return fmt.Errorf("it is not a regular file (%s); put a regular file in its place", info.Mode().Type())
	case info.Size() > r.maxBytes:
		return fmt.Errorf("its %d bytes are more than the %d that are read; split it", info.Size(), r.maxBytes)
	}
	return nil
}

func unchanged(a, b fs.FileInfo) bool {
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && os.SameFile(a, b)
}

// isGone reports that there is nothing under a name.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

func unreadable(k key, text string) model.Problem {
	return model.Problem{
		Object:   document.FileRef(k.path()),
		Reason:   model.ReasonUnreadableFile,
		Message:  text,
		Severity: model.SeverityError,
		Place:    model.Place{File: k.path()},
	}
}

// cause returns an error without the path that the problem names already.
func cause(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
