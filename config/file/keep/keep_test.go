package keep

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func file(name string, objects ...string) File {
	f := File{Folder: "/etc/sluice", Name: name}
	for i, o := range objects {
		f.Objects = append(f.Objects, Object{Seen: 7, Since: 9, Index: i, Line: 3, JSON: json.RawMessage(o)})
	}
	return f
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	must(t, err)
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasPutIsLoaded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "objects")
	s := open(t, dir)
	a, b := file("a.yaml", `{"a":"<1>"}`, `{"b":12345678901234567890}`), file("sub/b.yaml", `{}`)
	must(t, s.Put(a))
	must(t, s.Put(b))
	must(t, s.Put(file("c.yaml", `{}`)))
	must(t, s.Put(file("c.yaml")))
	must(t, s.Put(file("never.yaml")))
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		info, err := d.Info()
		must(t, err)
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	})
	must(t, err)
	if !Holds(dir, "/etc/sluice") || Holds(dir, "/etc") {
		t.Error("it is not known what is kept")
	}
	got, faults := open(t, dir).Load()
	if len(got) != 2 || len(faults) != 0 {
		t.Fatalf("loaded %v, faults %v", got, faults)
	}
	for _, f := range got {
		want := a
		if f.Name == b.Name {
			want = b
		}
		for i := range f.Objects { // JSON may spell a string in two ways
			var x, y any
			must(t, json.Unmarshal(f.Objects[i].JSON, &x))
			must(t, json.Unmarshal(want.Objects[i].JSON, &y))
			if !reflect.DeepEqual(x, y) {
				t.Errorf("object %s, want %s", f.Objects[i].JSON, want.Objects[i].JSON)
			}
			f.Objects[i].JSON = want.Objects[i].JSON
		}
		if !reflect.DeepEqual(f, want) {
			t.Errorf("loaded %+v, want %+v", f, want)
		}
	}
}

func TestWhatIsTheSameIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	must(t, open(t, dir).Put(file("a.yaml", `{}`)))
	s := open(t, dir)
	if _, faults := s.Load(); len(faults) > 0 {
		t.Fatal(faults)
	}
	must(t, os.Chmod(dir, 0o500))
	defer func() { must(t, os.Chmod(dir, 0o700)) }()
	list, err := os.ReadDir(dir)
	must(t, err)
	before, err := os.Stat(filepath.Join(dir, list[0].Name()))
	must(t, err)
	must(t, s.Put(file("a.yaml", `{}`)))
	after, err := os.Stat(filepath.Join(dir, list[0].Name()))
	must(t, err)
	if !os.SameFile(before, after) {
		t.Error("it was written again")
	}
}

// Whatever happened to a file, the others are loaded, and it can be put again.
func TestDamage(t *testing.T) {
	for name, damage := range map[string]func(string) string{
		"empty":         func(string) string { return "" },
		"cut":           func(s string) string { return s[:len(s)-3] },
		"changed":       func(s string) string { return strings.Replace(s, "a.yaml", "b.yaml", 1) },
		"other version": func(s string) string { return strings.Replace(s, "objects 1", "objects 2", 1) },
		"bytes":         func(string) string { return "\x00\xff\n\x00" },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			must(t, s.Put(file("a.yaml", `{}`)))
			list, err := os.ReadDir(dir)
			must(t, err)
			path := filepath.Join(dir, list[0].Name())
			must(t, s.Put(file("b.yaml", `{}`)))
			data, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, []byte(damage(string(data))), 0o600))
			must(t, os.WriteFile(filepath.Join(dir, "1.tmp"), data, 0o600))
			s = open(t, dir)
			files, faults := s.Load()
			if len(files) != 1 || files[0].Name != "b.yaml" || len(faults) != 1 || !strings.Contains(faults[0].Error(), path) {
				t.Errorf("loaded %v, faults %v", files, faults)
			}
			must(t, s.Put(file("a.yaml", `{}`)))
			if files, faults = open(t, dir).Load(); len(files) != 2 || len(faults) != 0 {
				t.Errorf("then loaded %v, faults %v", files, faults)
			}
		})
	}
}
