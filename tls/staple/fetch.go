package staple

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/sluicegw/sluice/tls"
)

const (
	fetchLimit   = 10 * time.Second
	maxBytes     = 64 << 10 // responses have one to four KiB
	maxRedirects = 3
)

// client asks responders.
type client struct{ http *http.Client }

func newClient(given *http.Client) *client {
	c := http.Client{}
	if given != nil {
		c = *given
	} else {
		dialer := &net.Dialer{Timeout: fetchLimit, Control: refuseSpecial}
		c.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSHandshakeTimeout: fetchLimit,
			MaxIdleConns: atOnce, IdleConnTimeout: fetchLimit, MaxResponseHeaderBytes: maxBytes, ForceAttemptHTTP2: true,
		}
	}
	c.Jar = nil
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		return acceptable(req.URL)
	}
	return &client{&c}
}

// refuseSpecial keeps connections from addresses that mean something to this
// machine's network only, as that of a cloud's metadata does.
func refuseSpecial(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if ip := at.Addr().Unmap(); ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return fmt.Errorf("address %s is not for responders", ip)
	}
	return nil
}

// acceptable tells what is wrong with the URL of a responder: a query or fragment
// would swallow the request, which is the end of the path.
func acceptable(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("the scheme %q is neither http nor https", u.Scheme)
	case u.Host == "":
		return errors.New("the URL has no host")
	case u.User != nil:
		return errors.New("the URL has a user")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("the URL has a query or a fragment")
	}
	return nil
}

// fetch asks the responder of a certificate for its status.
//
// Source: RFC 6960 appendix A.1, RFC 5019 section 5: requests are of less than
// 255 bytes and go by GET.
func (k *Keeper) fetch(ctx context.Context, cert issued) (response, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	responder := tls.ResponderOf(cert.leaf)
	u, err := url.Parse(responder)
	if err == nil {
		err = acceptable(u)
	}
	if err != nil {
		return response{}, fmt.Errorf("ask responder %s: %w", responder, err)
	}
	request, err := ocsp.CreateRequest(cert.leaf, cert.issuer, nil)
	if err != nil {
		return response{}, fmt.Errorf("write request: %w", err)
	}
	der, err := k.client.get(ctx, strings.TrimSuffix(responder, "/")+"/"+url.QueryEscape(base64.StdEncoding.EncodeToString(request)))
	if err != nil {
		return response{}, fmt.Errorf("ask responder %s: %w", responder, err)
	}
	out, err := cert.verify(der, k.now())
	if err != nil {
		return response{}, fmt.Errorf("ask responder %s: %w", responder, err)
	}
	return out, nil
}

// get returns the body of a URL.
func (c *client) get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/ocsp-response")
	resp, err := c.http.Do(req)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err // without the URL, which is long
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered with status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxBytes:
		return nil, fmt.Errorf("it answered with more than %d bytes", maxBytes)
	}
	return body, nil
}
