package file

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// The number of an object says when it came, whatever happens to it later.
func TestObjectsKeepTheirPlace(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name+".yaml") }
	write(t, at("m"), object("m", "1"))
	write(t, at("n"), object("n", "1")+"---\n"+object("o", "1"))
	r := run(t, 0, dir)
	r.until("m=1 n=1 o=1")
	first := r.seen["m"]
	if first == 0 || first != r.seen["n"] || first != r.seen["o"] {
		t.Fatalf("one look gave the numbers %v", r.seen)
	}
	replace(t, at("a"), object("a", "1"))
	r.until("a=1 m=1 n=1 o=1")
	later := r.seen["a"]
	if later <= first {
		t.Fatalf("a came later and has %d, not more than %d", later, first)
	}
	was := maps.Clone(r.seen)
	for _, c := range []struct {
		name, want string
		do         func()
	}{
		{"edited", "a=2 m=2 n=1 o=1", func() { replace(t, at("m"), object("m", "2")); replace(t, at("a"), object("a", "2")) }},
		{"file moved", "a=2 m=3 n=1 o=1", func() { must(t, os.Rename(at("m"), at("z"))); replace(t, at("z"), object("m", "3")) }},
		{"object moved, copied first", "a=2 m=3 n=1 o=2", func() { write(t, at("x"), object("o", "2")); write(t, at("n"), object("n", "1")) }},
		{"object moved, cut first", "a=3 m=3 n=1 o=2", func() { write(t, at("a"), ""); write(t, at("y"), object("a", "3")) }},
	} {
		c.do()
		r.until(c.want)
		r.looked()
		r.until(c.want)
		if !maps.Equal(r.seen, was) {
			t.Errorf("%s: the numbers are %v and were %v", c.name, r.seen, was)
		}
	}
	r.kept()
	must(t, os.Remove(at("z")))
	r.until("a=3 n=1 o=2")
	write(t, at("z"), object("m", "4"))
	r.until("a=3 m=4 n=1 o=2")
	if r.seen["m"] <= later {
		t.Errorf("m came again and has %d, not more than %d", r.seen["m"], later)
	}
}
