package file

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// unprivileged runs the test again as a user whom permissions stop, and reports
// whether this is it.
func unprivileged(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	const nobody = 65534
	tmp, err := os.MkdirTemp("/tmp", "sluice-nobody-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(tmp)) })
	must(t, os.Chown(tmp, nobody, nobody))
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("as another user: %v\n%s", err, out)
	}
	return false
}

// What permission was missing for is read as soon as it is given, without a
// rescan, and its problems go.
func TestPermissionIsGivenBack(t *testing.T) {
	if !unprivileged(t) {
		return
	}
	for name, c := range map[string]struct {
		mode os.FileMode
		says []string
	}{
		"the folder cannot be listed": {0o300, []string{"sub:0 UnreadableFile"}},
		"nor entered":                 {0, []string{"sub:0 UnreadableFile"}},
		"its files cannot be reached": {0o600, []string{"a.yaml:0 UnreadableFile"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			sub := mkdir(t, dir, "sub")
			a := filepath.Join(sub, "a.yaml")
			write(t, a, object("a", "1"))
			r := run(t, 0, dir)
			for _, v := range []string{"2", "3"} {
				must(t, os.Chmod(sub, c.mode))
				t.Cleanup(func() { must(t, os.Chmod(sub, 0o700)) })
				r.lookedWith(c.says...)
				must(t, os.Chmod(sub, 0o700))
				r.until(r.objects())
				replace(t, a, object("a", v))
				r.until("a=" + v)
			}
			r.kept()
		})
	}
}

// lookedWith has everything looked at, which has to end with these problems.
func (r *receiver) lookedWith(problems ...string) {
	r.t.Helper()
	r.looked()
	if strings.Join(r.faults(), " ") != strings.Join(problems, " ") {
		r.t.Errorf("problems %v, want %v", r.faults(), problems)
	}
}
