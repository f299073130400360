package dns

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/libdns/libdns"
)

// outputLimit bounds what is repeated of a hook's words, in bytes.
const outputLimit = 512

// Change is what a hook is told, in JSON.
type Change struct {
	Action string `json:"action"` // "present" or "cleanup"
	Zone   string `json:"zone"`   // "example.com"
	Name   string `json:"name"`   // "_acme-challenge.a.example.com"
	Type   string `json:"type"`   // "TXT"
	Value  string `json:"value"`  // as it is to be published, without quotes
	TTL    int    `json:"ttl"`    // seconds; 0 leaves it to the hook
}

// The actions.
const (
	actionPresent = "present"
	actionCleanup = "cleanup"
)

// Command is a hook that runs a program for each record, with the arguments
// action, name and value after its own. The program finds the [Change] in the
// variables SLUICE_ACTION, SLUICE_ZONE, SLUICE_NAME, SLUICE_TYPE, SLUICE_VALUE
// and SLUICE_TTL. It exits with 0 once the record is there or gone; the end of its
// error output is what people are shown otherwise.
type Command struct {
	Path string
	Args []string
}

// Endpoint is a hook that posts the [Change] to a URL. A status of 2xx says that
// the record is there or gone; the beginning of another answer's body is what
// people are shown.
type Endpoint struct {
	URL string
	// Authorization is sent as the header of that name, if set.
	Authorization string
	Client        *http.Client // nil is http.DefaultClient
}

var (
	_ libdns.RecordAppender = Command{}
	_ libdns.RecordDeleter  = Command{}
	_ libdns.RecordAppender = Endpoint{}
	_ libdns.RecordDeleter  = Endpoint{}
)

// AppendRecords runs the program for each record.
func (c Command) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return each(ctx, changes(actionPresent, zone, records), records, c.call)
}

// DeleteRecords runs the program for each record.
func (c Command) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return each(ctx, changes(actionCleanup, zone, records), records, c.call)
}

// AppendRecords posts each record.
func (e Endpoint) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return each(ctx, changes(actionPresent, zone, records), records, e.call)
}

// DeleteRecords posts each record.
func (e Endpoint) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return each(ctx, changes(actionCleanup, zone, records), records, e.call)
}

func changes(action, zone string, records []libdns.Record) []Change {
	var out []Change
	for _, record := range records {
		r := record.RR()
		out = append(out, Change{
			Action: action, Zone: strings.TrimSuffix(zone, "."), Type: r.Type, Value: r.Data, TTL: int(r.TTL / time.Second),
			Name: strings.TrimSuffix(libdns.AbsoluteName(r.Name, zone), "."),
		})
	}
	return out
}

// each calls the hook for each change, and returns the records before the first
// that it did not take.
func each(ctx context.Context, all []Change, records []libdns.Record, call func(context.Context, Change) error) ([]libdns.Record, error) {
	for i, c := range all {
		if err := call(ctx, c); err != nil {
			return records[:i], fmt.Errorf("DNS hook, %s %s: %w", c.Action, c.Name, err)
		}
	}
	return records, nil
}

func (c Command) call(ctx context.Context, change Change) error {
	args := append(append([]string(nil), c.Args...), change.Action, change.Name, change.Value)
	cmd := exec.CommandContext(ctx, c.Path, args...)
	cmd.Env = append(os.Environ(),
		"SLUICE_ACTION="+change.Action, "SLUICE_ZONE="+change.Zone, "SLUICE_NAME="+change.Name,
		"SLUICE_TYPE="+change.Type, "SLUICE_VALUE="+change.Value, fmt.Sprintf("SLUICE_TTL=%d", change.TTL))
	cmd.WaitDelay = time.Second
	var output bytes.Buffer
	cmd.Stderr = &output
	if err := cmd.Run(); err != nil {
		words := strings.TrimSpace(output.String())
		if len(words) > outputLimit {
			words = words[len(words)-outputLimit:]
		}
		return fmt.Errorf("%s: %w: %s", c.Path, err, words)
	}
	return nil
}

func (e Endpoint) call(ctx context.Context, change Change) error {
	body, err := json.Marshal(change)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if e.Authorization != "" {
		request.Header.Set("Authorization", e.Authorization)
	}
	client := e.Client
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	words, err := io.ReadAll(io.LimitReader(response.Body, outputLimit))
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s answers %s: %s", e.URL, response.Status, strings.TrimSpace(string(words)))
	}
	return nil
}
