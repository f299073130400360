package main

import (
	"strings"
	"time"

	"github.com/sluicegw/sluice/config/file"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/status"
)

// statusDocument is what GET /status answers.
type statusDocument struct {
	Version     string        `json:"version"`
	Directories []string      `json:"directories"`
	Listeners   []string      `json:"listeners"`
	Envoy       envoyDocument `json:"envoy"`
	status.Snapshot
	Objects []objectDocument `json:"objects"`
	// Certificates are the automatic ones that are not in order: pending, failing
	// or refused, with the authority's words and the next try.
	Certificates []certificateDocument `json:"certificates,omitempty"`
}

// envoyDocument is the local Envoy as its supervisor sees it.
type envoyDocument struct {
	Phase    string `json:"phase"`
	Reason   string `json:"reason,omitempty"`
	Version  string `json:"version"`
	PID      int    `json:"pid,omitempty"`
	Epoch    int    `json:"epoch"`
	Restarts int    `json:"restarts"`
}

// words are version and phase; an Envoy that starts has no version yet.
func (e envoyDocument) words() string {
	return strings.TrimSpace(e.Version + " " + e.Phase)
}

// objectDocument is one object and the file that holds it.
type objectDocument struct {
	status.ObjectStatus
	Path string `json:"path,omitempty"`
}

func (o objectDocument) ref() model.Ref {
	return model.Ref{Group: o.Group, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}
}

// describe adds to a snapshot where each object and each problem stands.
func describe(s status.Snapshot, src *file.Source) statusDocument {
	doc := statusDocument{Version: versionString(), Snapshot: s, Objects: make([]objectDocument, len(s.Objects))}
	for i, o := range s.Objects {
		d := objectDocument{ObjectStatus: o}
		d.Path = src.File(d.ref())
		for j := range d.Faults {
			if f := &d.Faults[j]; f.File == "" {
				at := src.Locate(d.ref(), f.Field)
				f.File, f.Line = at.File, at.Line
			}
		}
		doc.Objects[i] = d
	}
	return doc
}

// age is how long ago t was, as people say it.
func age(t *time.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	d := now.Sub(*t)
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return d.Round(time.Minute).String()
	}
	return d.Round(time.Hour).String()
}
