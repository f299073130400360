package acme_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/tls/acme"
	"github.com/sluicegw/sluice/tls/acme/pebbletest"
)

// peerVariable has the [peerOptions] of a process that is a peer.
const peerVariable = "SLUICE_TEST_PEER"

// peerOptions say what another process does.
type peerOptions struct {
	Directory, Roots, Storage string
	Load, Want                []string
}

func TestMain(m *testing.M) {
	if text := os.Getenv(peerVariable); text != "" {
		if err := bePeer(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// bePeer runs a manager until standard input ends, and prints its two addresses,
// and then each certificate that it serves: its host and serial number. It wants
// its hosts after the first line of input.
func bePeer(text string) error {
	var p peerOptions
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	o := options(&pebbletest.Authority{Directory: p.Directory, RootsFile: p.Roots}, p.Storage)
	t := &testing.T{}
	o.OnChange = func(changed map[string]*model.ManagedCertificate, _ []string) {
		for host, c := range changed {
			fmt.Println(host, leafOf(t, c).SerialNumber)
		}
	}
	m, err := acme.New(o)
	if err != nil {
		return err
	}
	m.Load(context.Background(), p.Load)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			m.Want(wants(true, p.Want...))
		}
	}()
	fmt.Println(m.HTTPAddress(), m.TLSALPNAddress())
	return m.Run(ctx)
}

// peer is another process.
type peer struct {
	cmd       *exec.Cmd
	http, tls string // addresses
	stdin     io.Writer
	mu        sync.Mutex
	serials   map[string]string
}

// startPeer runs a process until the test ends.
func startPeer(t *testing.T, a *pebbletest.Authority, p peerOptions) *peer {
	t.Helper()
	p.Directory, p.Roots = a.Directory, a.RootsFile
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	out := &peer{cmd: exec.Command(os.Args[0]), serials: map[string]string{}}
	out.cmd.Env = append(os.Environ(), peerVariable+"="+string(text))
	var words strings.Builder
	out.cmd.Stderr = &words
	stdin, err := out.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := out.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	out.stdin = stdin
	if err := out.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		t.Fatal("the peer says nothing")
	}
	out.http, out.tls, _ = strings.Cut(lines.Text(), " ")
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines.Scan() {
			host, serial, _ := strings.Cut(lines.Text(), " ")
			out.mu.Lock()
			out.serials[host] = serial
			out.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		<-read
		_ = out.cmd.Wait()
		if words.Len() > 0 {
			t.Errorf("the peer wrote to standard error:\n%s", &words)
		}
	})
	return out
}

// want has the peer want its hosts.
func (p *peer) want(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(p.stdin, "want\n"); err != nil {
		t.Fatal(err)
	}
}

// kill ends the process as a power cut would.
func (p *peer) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
}

// serial returns which certificate the peer serves for a host; "" if none.
func (p *peer) serial(host string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.serials[host]
}

func TestPeerAnswersTheChallengeOfAnother(t *testing.T) {
	t.Parallel()
	for what, open := range map[string]func(*pebbletest.Authority, *peer) (int, string){
		"HTTP-01":     func(a *pebbletest.Authority, p *peer) (int, string) { return a.HTTPPort, p.http },
		"TLS-ALPN-01": func(a *pebbletest.Authority, p *peer) (int, string) { return a.TLSPort, p.tls },
	} {
		t.Run(what, func(t *testing.T) {
			const host = "answered.example.com"
			a := pebbletest.Start(t, pebbletest.Options{})
			dir := t.TempDir()
			other := startPeer(t, a, peerOptions{Storage: dir, Load: []string{host}})
			port, target := open(a, other) // the one that orders is not reached
			forward(t, port, func() string { return target })
			m := run(t, options(a, dir))
			m.Want(wants(what == "HTTP-01", host))
			leaf := m.issued(t, host, nil)
			await(t, "certificate at the peer", func() bool { return other.serial(host) == leaf.SerialNumber.String() })
			if n := a.Orders(host); n > 2 { // the authority may have been asked for the other challenge first
				t.Errorf("%d orders", n)
			}
			// A renewal is seen as well.
			if err := m.Renew(t.Context(), host); err != nil {
				t.Fatal(err)
			}
			leaf = m.issued(t, host, leaf)
			await(t, "renewed certificate at the peer", func() bool { return other.serial(host) == leaf.SerialNumber.String() })
		})
	}
}

func TestPeersPlaceOneOrderForEachHost(t *testing.T) {
	t.Parallel()
	hosts := []string{"p1.example.com", "p2.example.com", "p3.example.com", "p4.example.com", "p5.example.com"}
	a := pebbletest.Start(t, pebbletest.Options{})
	dir := t.TempDir()
	var peers []*peer
	for range 3 {
		peers = append(peers, startPeer(t, a, peerOptions{Storage: dir, Want: hosts}))
	}
	var turn atomic.Int64
	next := func() *peer { return peers[int(turn.Add(1))%len(peers)] }
	forward(t, a.HTTPPort, func() string { return next().http })
	forward(t, a.TLSPort, func() string { return next().tls })
	for _, p := range peers {
		p.want(t)
	}
	for _, host := range hosts {
		await(t, "same certificate of "+host+" everywhere", func() bool {
			first := peers[0].serial(host)
			return first != "" && first == peers[1].serial(host) && first == peers[2].serial(host)
		})
		if n := a.Orders(host); n != 1 {
			t.Errorf("%d orders for %s", n, host)
		}
	}
}

func TestOwnerOfAnOrderIsKilled(t *testing.T) {
	t.Parallel()
	const host = "killed.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	entered := make(chan struct{}, 1)
	var released atomic.Bool
	a.SetIntercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/finalize-order/") || released.Load() {
			return false
		}
		select {
		case entered <- struct{}{}:
		default:
		}
		<-r.Context().Done() // the client is gone
		return true
	})
	dir := t.TempDir()
	owner := startPeer(t, a, peerOptions{Storage: dir, Want: []string{host}})
	var reached atomic.Pointer[[2]string]
	reached.Store(&[2]string{owner.http, owner.tls})
	forward(t, a.HTTPPort, func() string { return reached.Load()[0] })
	forward(t, a.TLSPort, func() string { return reached.Load()[1] })
	owner.want(t)
	select {
	case <-entered:
	case <-time.After(patience):
		t.Fatal("the owner does not come to finalize its order")
	}
	m := run(t, options(a, dir))
	m.Want(wants(true, host))
	reached.Store(&[2]string{m.HTTPAddress().String(), m.TLSALPNAddress().String()})
	if n := a.Orders(host); n != 1 {
		t.Errorf("%d orders while the owner lives", n)
	}
	released.Store(true)
	start := time.Now()
	owner.kill(t)
	m.issued(t, host, nil)
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v to take over", took)
	}
	if n := a.Orders(host); n != 2 {
		t.Errorf("%d orders", n)
	}
}

func TestChallengePortsAnswerNobodyElse(t *testing.T) {
	t.Parallel()
	m := run(t, options(&pebbletest.Authority{Directory: "https://127.0.0.1:1/dir"}, t.TempDir()))
	conn, err := net.Dial("tcp", m.TLSALPNAddress().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if err := handshake(conn, "stranger.example.com"); err == nil {
		t.Error("a stranger got a certificate")
	}
}
