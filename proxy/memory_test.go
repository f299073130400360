package proxy

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/sluicegw/sluice/proxy/hugepage"
	"github.com/sluicegw/sluice/test/envoytest"
)

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
	huge, err := hugepage.InUse(pid)
	if err != nil {
		t.Fatal(err)
	}
	switch said := log.String(); {
	case strings.Contains(said, "envoy works with huge pages"):
		if huge == 0 {
			t.Error("nothing of Envoy is in huge pages")
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
