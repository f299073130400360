package console

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Access says who may ask, and who may act.
type Access struct {
	// Names are hosts under which the admin API may be asked over TCP, besides
	// loopback and the address that was connected to.
	Names []string
	// Token lets who shows it act; nobody when it is "".
	Token string
	// Address is where the admin API listens on TCP: told over the unix socket, so
	// that a client knows whose socket it is.
	Address string
	// Remedy says how to act, to who may not.
	Remedy string
}

// AddressHeader holds [Access.Address].
const AddressHeader = "Sluice-Admin"

// Guard lets through what is allowed.
func (a Access) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		by := callerOf(r.Context())
		if by.local {
			w.Header().Set(AddressHeader, a.Address)
		} else if !a.named(r) {
			http.Error(w, fmt.Sprintf("host %q is not a name of this admin API; ask it by its address, or name the host with --admin-host", r.Host), http.StatusForbidden)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead && !by.owner && !a.shown(r) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "this needs more than an address: "+a.Remedy, http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// named reports whether the request is for a host that this is. A page whose name
// is made to resolve to this machine asks for its own.
func (a Access) named(r *http.Request) bool {
	host := hostOf(r.Host)
	if host == "" || host == "localhost" || slices.ContainsFunc(a.Names, func(n string) bool { return n != "" && hostOf(n) == host }) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ip.Unmap().IsLoopback() || local != nil && local.AddrPort().Addr().Unmap().WithZone("") == ip.Unmap().WithZone("")
}

// hostOf returns a host without port, brackets, case and trailing dot.
func hostOf(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// shown reports whether the request has the token.
func (a Access) shown(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return a.Token != "" && strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare([]byte(strings.TrimSpace(token)), []byte(a.Token)) == 1
}

// caller is who is at the other end of a connection.
type caller struct {
	local bool // it came over the unix socket
	owner bool // and is the user who runs this, or root
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}
