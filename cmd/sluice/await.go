package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/config/file"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/status"
)

// waitDocument is what GET /wait answers.
type waitDocument struct {
	// Live: what was on disk when the question came is what every proxy does.
	Live    bool `json:"live"`
	Proxies int  `json:"proxies"`
	// Stuck: all that is missing waits for its author.
	Stuck bool `json:"stuck,omitempty"`
	// Missing says of each thing that is not live why.
	Missing []string `json:"missing,omitempty"`
}

// await answers when what is on disk below the folders at the time of the call
// is live, when only its author can make it so, or when ctx is over.
func (g *gateway) await(ctx context.Context, dirs []string) (waitDocument, error) {
	in, err := newScope(absolute(g.o.dirs), dirs)
	if err != nil {
		return waitDocument{}, err
	}
	if err := g.source.Look(ctx); err != nil {
		return unread(), nil //nolint:nilerr // that time is over is an answer
	}
	gen, err := g.pipeline.settle(ctx)
	if err != nil {
		return unread(), nil //nolint:nilerr // as above
	}
	for {
		changed := g.board.Changed()
		obstacles := g.board.Obstacles(gen, in.holds(g.source))
		stuck := !slices.ContainsFunc(obstacles, func(o status.Obstacle) bool { return !o.Stays() })
		if stuck && len(obstacles) > 0 {
			// What Envoy refuses may have been replaced by something else meanwhile.
			now, err := g.pipeline.settle(ctx)
			if err == nil && now != gen {
				gen = now
				continue
			}
		}
		if stuck || ctx.Err() != nil {
			return g.describeObstacles(obstacles, stuck), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// unread is the answer when time was over before there was one.
func unread() waitDocument {
	return waitDocument{Missing: []string{"the folders are still being read"}}
}

func (g *gateway) describeObstacles(obstacles []status.Obstacle, stuck bool) waitDocument {
	doc := waitDocument{Live: len(obstacles) == 0, Proxies: g.board.Counts().Proxies, Stuck: stuck && len(obstacles) > 0}
	for _, o := range obstacles {
		doc.Missing = append(doc.Missing, obstacleLine(o))
	}
	return doc
}

// obstacleLine says what is not live, and why.
func obstacleLine(o status.Obstacle) string {
	why := ""
	if o.Problem.Reason != "" {
		why = ": " + strings.TrimPrefix(o.Problem.Field+": "+o.Problem.Message, ": ")
	}
	switch {
	case o.Node != "":
		return "proxy " + o.Node + " has not taken the last change"
	case o.Object == (model.Ref{}):
		return problemLine(o.Problem)
	case o.Behind():
		return fmt.Sprintf("%s: live on %d of %d proxies%s", o.Object, o.Live, o.Of, why)
	}
	return o.Object.String() + ": not served as written" + why
}

// scope is a choice of folders, as they were named and as they are without links.
type scope struct {
	all   bool
	dirs  []string
	reals map[string]string // real path of a folder, by its path
}

// newScope returns what is below some folders, which have to be among those that
// are read, below, or above one of them. None means all.
func newScope(read, dirs []string) (*scope, error) {
	s := &scope{all: len(dirs) == 0, reals: map[string]string{}}
	for _, d := range dirs {
		if !filepath.IsAbs(d) {
			return nil, fmt.Errorf("folder %s: name it by its absolute path", d)
		}
		if st, err := os.Stat(d); err != nil {
			return nil, fmt.Errorf("read folder %w", err)
		} else if !st.IsDir() {
			return nil, fmt.Errorf("read folder %s: it is a file; name the folder that holds it", d)
		}
		s.dirs = append(s.dirs, filepath.Clean(d), s.real(d))
		known := func(r string) bool {
			return within(r, []string{d, s.real(d)}) || within(s.real(r), []string{d, s.real(d)}) || within(d, []string{r}) || within(s.real(d), []string{s.real(r)})
		}
		if !slices.ContainsFunc(read, known) {
			return nil, fmt.Errorf("folder %s is not below one that this sluice reads: %s", d, strings.Join(read, ", "))
		}
	}
	return s, nil
}

// holds returns what reports whether an object, or a place, is in the scope.
func (s *scope) holds(src *file.Source) func(model.Ref, model.Place) bool {
	return func(ref model.Ref, at model.Place) bool {
		if s.all {
			return true
		}
		path := at.File
		if path == "" {
			path = src.File(ref)
		}
		if path == "" {
			return false
		}
		path = absolute([]string{path})[0]
		return within(path, s.dirs) || within(filepath.Join(s.real(filepath.Dir(path)), filepath.Base(path)), s.dirs)
	}
}

// real returns a folder's path without links; the path itself if it is gone.
func (s *scope) real(dir string) string {
	if _, known := s.reals[dir]; !known {
		s.reals[dir] = dir
		if r, err := filepath.EvalSymlinks(dir); err == nil {
			s.reals[dir] = r
		}
	}
	return s.reals[dir]
}

// within reports whether path is one of dirs or lies below it.
func within(path string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool {
		d = strings.TrimSuffix(filepath.Clean(d), "/")
		return path == d || strings.HasPrefix(path, d+"/")
	})
}
