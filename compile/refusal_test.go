package compile

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluicegw/sluice/model"
)

func TestRefusedPlainTableIsTakenApart(t *testing.T) {
	c := city(3, 3)
	table := model.ResourceName{Type: model.TypeRoute, Name: "http.80"}
	scope := model.ResourceName{Type: model.TypeScope, Name: "http.80/@"}
	res := c.Refuse(map[model.ResourceName]Refusal{table: {Hash: c.resources[table].Hash, Detail: "bad"}})
	if !slices.Equal(res.Change.Removals, []model.ResourceName{table, scope}) {
		t.Errorf("removals %v, want the table and its scope", res.Change.Removals)
	}
	for _, h := range []string{"h0.test", "h1.test", "h2.test"} {
		if c.resources[model.ResourceName{Type: model.TypeScope, Name: "http.80/" + h}] == nil {
			t.Errorf("host %s has no scope of its own", h)
		}
	}
	if err := c.Verify(); err != nil {
		t.Error(err)
	}
}

func TestRefusedHostAnswers500UntilItChanges(t *testing.T) {
	c := city(300, 3)
	name := model.ResourceName{Type: model.TypeRoute, Name: "http.80/h7.test"}
	before := c.resources[name]
	res := c.Refuse(map[model.ResourceName]Refusal{name: {Hash: before.Hash, Detail: "no such thing"}})
	if len(res.Change.Upserts) != 1 || res.Change.Upserts[0].ResourceName != name || !strings.Contains(string(res.Change.Upserts[0].Bytes), string(model.ReasonInternal)) {
		t.Fatalf("upserts %v, want only the refusal of h7.test", res.Change.Upserts)
	}
	if len(res.Reports) != 1 || len(res.Reports[0].Problems) != 1 || res.Reports[0].Problems[0].Object.Name != "h7" {
		t.Errorf("reports %v, want one problem of h7", res.Reports)
	}
	if err := c.Verify(); err != nil {
		t.Error(err)
	}
	res = put(c, routesOf(7, 1, "v2"))
	if len(res.Change.Upserts) != 1 || strings.Contains(string(res.Change.Upserts[0].Bytes), string(model.ReasonInternal)) {
		t.Error("the host still answers 500 after its object changed")
	}
	if len(res.Reports) != 1 || len(res.Reports[0].Problems) != 0 {
		t.Errorf("reports %v, want the problem taken back", res.Reports)
	}
}
