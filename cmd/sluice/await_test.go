package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sluicegw/sluice/config/file"
	"github.com/sluicegw/sluice/model"
)

func TestScope(t *testing.T) {
	top := t.TempDir()
	read, sub, link := filepath.Join(top, "read"), filepath.Join(top, "read", "sub"), filepath.Join(top, "link")
	other := filepath.Join(top, "readable")
	for _, d := range []string{sub, other} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(read, link); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(read, "a.yaml")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		read string
		dirs []string
		path string // of an object
		want bool
	}{
		{read, nil, filepath.Join(read, "a.yaml"), true},
		{read, []string{read}, filepath.Join(read, "a.yaml"), true},
		{read, []string{read + "/"}, filepath.Join(sub, "a.yaml"), true},
		{read, []string{sub}, filepath.Join(sub, "a.yaml"), true},
		{read, []string{sub}, filepath.Join(read, "a.yaml"), false},
		{read, []string{top}, filepath.Join(read, "a.yaml"), true},
		{read, []string{link}, filepath.Join(read, "a.yaml"), true},
		{link, []string{read}, filepath.Join(link, "a.yaml"), true},
		{link, []string{sub}, filepath.Join(link, "sub", "a.yaml"), true},
		{link, []string{sub}, filepath.Join(link, "a.yaml"), false},
	} {
		s, err := newScope([]string{c.read}, c.dirs)
		if err != nil {
			t.Errorf("%s of %v: %v", c.dirs, c.read, err)
			continue
		}
		if got := s.holds(file.New(file.Options{}))(model.Ref{}, model.Place{File: c.path}); got != c.want {
			t.Errorf("reading %s, asked about %v: %s is in it: %v, want %v", c.read, c.dirs, c.path, got, c.want)
		}
	}
	for _, wrong := range []string{other, filepath.Join(read, "none"), "relative", plain} {
		if _, err := newScope([]string{read}, []string{wrong}); err == nil {
			t.Errorf("%s is taken although %s is read", wrong, read)
		}
	}
}
