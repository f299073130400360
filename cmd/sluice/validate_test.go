package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestValidate compares what `sluice validate` says of a folder with want.txt.
func TestValidate(t *testing.T) {
	cases, err := filepath.Glob("testdata/validate/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			dir, want := t.TempDir(), -1
			for i, f := range archive.Files {
				if f.Name == "want.txt" {
					want = i
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if want < 0 {
				t.Fatal("the case has no want.txt")
			}
			got := validate(t, dir)
			if *update {
				archive.Files[want].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(archive.Files[want].Data), got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// validate returns what the command prints of a folder, and its exit code.
func validate(t *testing.T, dir string) string {
	t.Helper()
	var out bytes.Buffer
	code := execute(t.Context(), []string{"sluice", "validate", dir}, &out, &out)
	return strings.ReplaceAll(out.String(), dir+string(filepath.Separator), "") + fmt.Sprintf("exit code %d\n", code)
}
