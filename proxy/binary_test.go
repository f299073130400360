package proxy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicegw/sluice/test/envoytest"
)

// script writes an executable that is called envoy.
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFind(t *testing.T) {
	say := func(version string) string {
		return script(t, "echo; echo 'envoy  version: abc123/"+version+"/Clean/RELEASE/BoringSSL'")
	}
	good, newer, old := say("1.38.4"), say("1.41.0-dev"), say("1.38.3")
	plain := filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	list := func(paths ...string) string {
		for i, p := range paths {
			paths[i] = filepath.Dir(p)
		}
		return strings.Join(paths, ":")
	}
	for name, c := range map[string]struct {
		in            FindOptions
		path, version string
		err           []string
	}{
		"the flag goes first":                {in: FindOptions{Flag: good, Env: newer}, path: good, version: "1.38.4"},
		"then the variable":                  {in: FindOptions{Env: newer, PathList: list(good)}, path: newer, version: "1.41.0-dev"},
		"then PATH":                          {in: FindOptions{PathList: list(good), Fallback: newer}, path: good, version: "1.38.4"},
		"an old one on PATH is passed over":  {in: FindOptions{PathList: list(old, good)}, path: good, version: "1.38.4"},
		"the fallback comes last":            {in: FindOptions{PathList: list(old), Fallback: newer}, path: newer, version: "1.41.0-dev"},
		"a real one":                         {in: FindOptions{Fallback: envoytest.Binary(t)}, path: envoytest.Binary(t), version: "1.40.0"},
		"an old flag is refused":             {in: FindOptions{Flag: old, Fallback: good}, err: []string{"--envoy", "1.38.3", "1.38.4 or newer", "upgrade"}},
		"an old variable is refused":         {in: FindOptions{Env: old, Fallback: good}, err: []string{"$SLUICE_ENVOY", "1.38.3"}},
		"before a release is older":          {in: FindOptions{Flag: say("1.38.4-dev")}, err: []string{"1.38.4-dev"}},
		"numbers are not compared as text":   {in: FindOptions{Flag: say("1.9.9")}, err: []string{"1.9.9"}},
		"a missing flag":                     {in: FindOptions{Flag: "/nowhere/envoy"}, err: []string{"--envoy", "/nowhere/envoy", "does not exist"}},
		"a directory":                        {in: FindOptions{Flag: t.TempDir()}, err: []string{"is a directory"}},
		"not executable":                     {in: FindOptions{Flag: plain}, err: []string{"not executable"}},
		"not an Envoy":                       {in: FindOptions{Flag: script(t, "echo GNU bash, version 5.2")}, err: []string{"not an Envoy", "GNU bash"}},
		"one that ends badly":                {in: FindOptions{Flag: script(t, "echo no libc >&2; exit 127")}, err: []string{"exit status 127", "no libc"}},
		"nothing at all":                     {err: []string{"no usable Envoy", "1.38.4", "--envoy"}},
		"only old ones":                      {in: FindOptions{PathList: list(old)}, err: []string{"no usable Envoy", "1.38.3"}},
		"the current directory is not taken": {in: FindOptions{PathList: ":."}, err: []string{"no usable Envoy"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Find(t.Context(), c.in)
			if (err != nil) != (c.err != nil) || got.Path != c.path || got.Version != c.version {
				t.Fatalf("Find = %+v, %v; want %s %s", got, err, c.path, c.version)
			}
			for _, part := range c.err {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}
