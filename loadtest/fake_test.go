package loadtest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// fakeEnv makes the test binary act as sluice, and under the name "envoy" as a
// process that only waits. Its value is the last digit of the requests that are
// lost, counted from 1, "none" for no loss.
const fakeEnv = "SLUICE_LOADTEST_FAKE"

func TestMain(m *testing.M) {
	loss := os.Getenv(fakeEnv)
	switch {
	case loss == "":
		os.Exit(m.Run())
	case filepath.Base(os.Args[0]) == "envoy":
		untilTerm()
	default:
		if err := fakeSluice(os.Args[1:], loss); err != nil {
			fmt.Println("fake sluice:", err)
			os.Exit(1)
		}
	}
}

func untilTerm() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
}

// fakePlace is the test binary as sluice, with an Envoy to compare with.
func fakePlace(t *testing.T, envoy, loss string) Place {
	t.Helper()
	t.Setenv(fakeEnv, loss)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Place{Sluice: self, Envoy: envoy, Log: t.Output()}
}

// fakeSluice takes the command line of `sluice run` and proxies by reading the
// host's file anew for every request, so that a change is live at once.
func fakeSluice(args []string, loss string) error {
	dir := args[len(args)-1]
	admin := args[slices.Index(args, "--admin")+1]
	child, err := fakeEnvoy(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer func() { _ = child.Process.Kill() }()
	gateway := match(filepath.Join(dir, "gateway.yaml"), `number: (\d+)`)
	var pushed, served atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/proxy/stats/prometheus", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "# TYPE a counter\na{x=\"1\"} 1\na{x=\"2\"} 1\n")
	})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		n := pushed.Add(1)
		_, _ = fmt.Fprintf(w, "sluice_xds_pushed_resources_total{type=\"route\"} %d\nsluice_xds_pushed_resources_total{type=\"cluster\"} %d\n", 10*n, 20*n)
		_, _ = fmt.Fprintf(w, "sluice_xds_pushed_bytes_total{type=\"route\"} %d\ngo_memstats_mallocs_total 1e+06\n", 1000*n)
	})
	go func() { _ = http.ListenAndServe(admin, mux) }()
	if err := fakeStreams(filepath.Join(dir, "stream.yaml")); err != nil {
		return err
	}
	if err := fakeSecure(dir, args[slices.Index(args, "--data-dir")+1]); err != nil {
		return err
	}
	go func() {
		_ = http.ListenAndServe("127.0.0.1:"+gateway, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n := served.Add(1)
			if fmt.Sprint(n%10) == loss {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			fakeRoute(dir, w, r)
		}))
	}()
	untilTerm()
	return nil
}

// fakeEnvoy starts the test binary under the name of Envoy.
func fakeEnvoy(dir string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	link := filepath.Join(dir, "envoy")
	_ = os.Remove(link) // of the start before
	if err := os.Symlink(self, link); err != nil {
		return nil, err
	}
	cmd := exec.Command(link)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, cmd.Start()
}

// fakeStreams joins every connection to the stream gateway's port with the
// service of the host that its first bytes name, else with the first service.
func fakeStreams(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil // this world has none
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+match(path, `port: \{number: (\d+)`))
	if err != nil {
		return err
	}
	ports := regexp.MustCompile(`stream: (\d+)`).FindAllSubmatch(text, -1)
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go fakeStream(client, ports)
		}
	}()
	return nil
}

func fakeStream(client net.Conn, ports [][][]byte) {
	defer func() { _ = client.Close() }()
	first := make([]byte, 4096)
	n, err := client.Read(first)
	if err != nil {
		return
	}
	to := 0
	for i := range ports {
		if bytes.Contains(first[:n], []byte(streamHost(i))) {
			to = i
		}
	}
	backend, err := net.Dial("tcp", "127.0.0.1:"+string(ports[to][1]))
	if err != nil {
		return
	}
	defer func() { _ = backend.Close() }()
	if _, err := backend.Write(first[:n]); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(backend, client)
		_ = backend.Close()
	}()
	_, _ = io.Copy(client, backend)
}

func fakeRoute(dir string, w http.ResponseWriter, r *http.Request) {
	name, _, _ := strings.Cut(r.Host, ".")
	file := filepath.Join(dir, "hosts", name+".yaml")
	service := match(file, `- route: \[\{destination: \{host: (\w+)\.`)
	if r.URL.Path != "/" {
		service = match(file, regexp.QuoteMeta(r.URL.Path)+`\}\}\]\n    route: \[\{destination: \{host: (\w+)\.`)
	}
	port := match(filepath.Join(dir, "services", service+".yaml"), `http: (\d+)`)
	if slice := filepath.Join(dir, "services", service+"-slice.yaml"); port == "" {
		port = match(slice, `port: (\d+)`)
	}
	if port == "" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "127.0.0.1:" + port}).ServeHTTP(w, r)
}

// match returns the first group of a pattern in a file, "" if there is none.
func match(path, pattern string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	found := regexp.MustCompile(pattern).FindSubmatch(text)
	if found == nil {
		return ""
	}
	return string(found[1])
}
