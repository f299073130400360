// Package keep holds what folders held when they could last be read.
//
// What goes in: the objects of the last good version of a file. What comes out
// after a restart: the same. It alone decides how that lies on disk: one file
// for each file, replaced as a whole, with a version and a checksum in front.
// What is damaged is told, and removed. Everything is for the owner alone,
// since Secrets are among it.
package keep

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// File is the last good version of a file.
type File struct {
	Folder  string   `json:"folder"` // the argument below which it lies, absolute
	Name    string   `json:"name"`   // its path below that
	Objects []Object `json:"objects"`
}

// Object is one object of a file.
type Object struct {
	Seen  uint64          `json:"seen"`  // [model.Meta.Seen]
	Since uint64          `json:"since"` // the same for this file: when it came to define the object
	Index int             `json:"index"` // see [model.Order]
	Line  int             `json:"line"`
	JSON  json.RawMessage `json:"object"`
}

// header is in front of every file: what it is, its version and a checksum.
const header = "sluice objects 1 "

const suffix = ".json"

// Store is a folder of them. One goroutine at a time uses it.
type Store struct {
	dir  string
	sums map[string]uint64 // of what lies there, by name
}

// Open makes the folder if it is not there.
func Open(dir string) (*Store, error) {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.Chmod(dir, 0o700) //nolint:gosec // a folder needs the bit to be entered
	}
	if err != nil {
		return nil, fmt.Errorf("keep objects in %s: %w", dir, err)
	}
	return &Store{dir: dir, sums: map[string]uint64{}}, nil
}

// Load returns what can be read, and an error for each file that cannot.
func (s *Store) Load() (files []File, faults []error) {
	list, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, []error{err}
	}
	for _, d := range list {
		path := filepath.Join(s.dir, d.Name())
		if !strings.HasSuffix(d.Name(), suffix) {
			_ = os.Remove(path) // half of a file, from a process that was killed
			continue
		}
		f, sum, err := read(path)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", path, err))
			_ = os.Remove(path) // it would be found damaged at every start
			continue
		}
		files = append(files, f)
		s.sums[d.Name()] = sum
	}
	return files, faults
}

// Holds reports whether something of a folder argument is kept in dir.
func Holds(dir, folder string) bool {
	list, _ := filepath.Glob(filepath.Join(dir, "*"+suffix)) // fails for no pattern of ours
	return slices.ContainsFunc(list, func(path string) bool {
		f, _, err := read(path)
		return err == nil && f.Folder == folder
	})
}

func read(path string) (f File, sum uint64, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return f, 0, err
	}
	line, body, found := bytes.Cut(data, []byte("\n"))
	if !found || !bytes.HasPrefix(line, []byte(header)) {
		return f, 0, errors.New("it is not of this version")
	}
	sum = xxhash.Sum64(body)
	if string(line) != headerOf(sum) {
		return f, 0, errors.New("it is damaged")
	}
	return f, sum, json.Unmarshal(body, &f)
}

func headerOf(sum uint64) string { return fmt.Sprintf("%s%016x", header, sum) }

// Put keeps a version of a file; one without objects is forgotten.
func (s *Store) Put(f File) error {
	name := fmt.Sprintf("%016x%s", xxhash.Sum64String(f.Folder+"\x00"+f.Name), suffix)
	path := filepath.Join(s.dir, name)
	if len(f.Objects) == 0 {
		delete(s.sums, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	sum := xxhash.Sum64(body)
	if have, ok := s.sums[name]; ok && have == sum {
		return nil
	}
	delete(s.sums, name)
	if err := replace(path, append([]byte(headerOf(sum)+"\n"), body...)); err != nil {
		return err
	}
	s.sums[name] = sum
	return nil
}

// replace writes a file so that it is the old or the new one. It does not wait
// for the disk: what a crash of the machine leaves of it has no right checksum.
func replace(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "*.tmp") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // swept at the next start, else
	}
	return err
}
