package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Holder says who holds an address on which Envoy is to listen, "" when nobody
// does or an Envoy of this data directory. network is "tcp" or "udp".
//
// The listeners of Envoy share their address with every process of the same user
// that asks for it (SO_REUSEPORT): a second gateway on the port would get half of
// the connections, and neither would know.
//
// Source: socket(7), SO_REUSEPORT; a bind without it fails while anybody listens.
func (s *Supervisor) Holder(network string, addr netip.AddrPort) string {
	if err := tryBind(network, addr); !errors.Is(err, unix.EADDRINUSE) {
		return ""
	}
	pids := listening(network, addr)
	if slices.ContainsFunc(pids, s.owns) {
		return ""
	}
	if len(pids) == 0 {
		return "a process that Sluice cannot see, or by a connection"
	}
	var names []string
	for _, pid := range pids {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		names = append(names, fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(comm)), pid))
	}
	return strings.Join(names, " and ")
}

// owns reports whether a process is an Envoy of this data directory, of whatever
// epoch and run.
func (s *Supervisor) owns(pid int) bool {
	dir, err := filepath.Abs(s.opt.DataDir)
	if err != nil {
		return false
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(args), "\x00"+dir+"/envoy-")
}

// tryBind takes an address for a moment as somebody would who wants it alone.
// Connections that are left of a listener that is gone do not matter.
func tryBind(network string, addr netip.AddrPort) error {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	var to unix.Sockaddr = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: [4]byte{}}
	if addr.Addr().Is6() {
		family = unix.AF_INET6
		to = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	} else {
		to.(*unix.SockaddrInet4).Addr = addr.Addr().As4()
	}
	if network == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if network == "tcp" {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil && family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	return os.NewSyscallError("bind", unix.Bind(fd, to))
}

// listening returns the processes, as far as they can be seen, that listen on an
// address or on one that overlaps it.
func listening(network string, addr netip.AddrPort) []int {
	inodes := map[string]bool{}
	for _, table := range []string{network, network + "6"} {
		text, _ := os.ReadFile("/proc/net/" + table)
		for line := range strings.Lines(string(text)) {
			if inode, ok := listener(line, network, addr); ok {
				inodes["socket:["+inode+"]"] = true
			}
		}
	}
	if len(inodes) == 0 {
		return nil
	}
	var pids []int
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !inodes[target] {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err == nil && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// listener returns the inode of a line of /proc/net/tcp or udp that is a listener
// on an address.
//
// Source: proc_pid_net(5): the local address in hexadecimal, its 32-bit words in
// the order of the machine, is field 2; the state, field 4, is 0A for a listener of
// TCP and 07 for one of UDP; the inode is field 10.
func listener(line, network string, addr netip.AddrPort) (string, bool) {
	fields := strings.Fields(line)
	state := map[string]string{"tcp": "0A", "udp": "07"}[network]
	if len(fields) < 10 || fields[3] != state {
		return "", false
	}
	host, port, _ := strings.Cut(fields[1], ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil || uint16(n) != addr.Port() {
		return "", false
	}
	nothing := strings.Trim(host, "0") == ""
	if !nothing && !addr.Addr().IsUnspecified() && host != kernelHex(addr.Addr()) {
		return "", false
	}
	return fields[9], true
}

// kernelHex writes an address as /proc/net does on a little-endian machine.
func kernelHex(a netip.Addr) string {
	raw := a.AsSlice()
	for i := 0; i+4 <= len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	return fmt.Sprintf("%X", raw)
}
