package ondemand

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// For how long a refusal of whoever is asked holds, and for how long he is left
// alone after he could not be asked.
const (
	refusalHolds = time.Minute
	faultHolds   = 10 * time.Second
)

// CheckURL says what is wrong with the URL of whoever is asked; nil if nothing is.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is no URL; write http://HOST:PORT/PATH", text)
	}
	return nil
}

// ask reports whether a name is allowed, and for how long it is not.
func (g *Gate) ask(name string) (bool, time.Duration) {
	if g.o.AskURL == "" {
		return true, 0
	}
	code, err := g.question(name)
	switch {
	case err != nil:
		g.o.Log.Warn("it cannot be asked whether a name may have a certificate", "host", name, "error", err)
		return false, faultHolds
	case code < 200 || code > 299:
		g.o.Log.Info("a name may have no certificate", "host", name, "answer", code)
		return false, refusalHolds
	}
	return true, 0
}

func (g *Gate) question(name string) (int, error) {
	u, err := url.Parse(g.o.AskURL)
	if err != nil {
		return 0, err
	}
	q := u.Query()
	q.Set("domain", name)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, err
	}
	resp, err := g.o.Client.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
