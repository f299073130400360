package proxy

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/sluicegw/sluice/proxy/hugepage"
	"github.com/sluicegw/sluice/test/envoytest"
)

// hugeMemory returns how much of a process is in huge pages, in the words of the
// kernel.
func hugeMemory(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "AnonHugePages:"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// Envoy works with huge pages where it may; where not it is said why, and where the
// kernel decides by itself, or people do, it is left alone.
func TestMemoryIsInHugePages(t *testing.T) {
	w := newWorld(t)
	o := w.options(t)
	var log envoytest.Output
	o.HugePages, o.Log = true, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, _ := supervise(t, o)
	pid := awaitPhase(t, s, PhaseRunning).PID
	if !hugepage.Asked() {
		if strings.Contains(log.String(), "pages") {
			t.Errorf("the kernel was not asked to give huge pages to those who ask, and yet: %s", log.String())
		}
		return
	}
	eventually(t, "word of huge pages", func() bool { return strings.Contains(log.String(), "envoy works with") })
	huge := hugeMemory(t, pid)
	switch said := log.String(); {
	case strings.Contains(said, "envoy works with huge pages"):
		if huge == "0 kB" || huge == "" {
			t.Errorf("%q of Envoy are in huge pages", huge)
		}
	case !strings.Contains(said, "CAP_SYS_NICE") && !strings.Contains(said, "Linux 6.1"):
		t.Errorf("Envoy works with small pages without a reason: %s", said)
	}
}

func TestMemoryIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	o := w.options(t)
	var log envoytest.Output
	o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, stop := supervise(t, o)
	awaitPhase(t, s, PhaseRunning)
	stop()
	if strings.Contains(log.String(), "pages") {
		t.Errorf("nobody asked for huge pages, and yet: %s", log.String())
	}
}
