package istio

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sluicegw/sluice/config/istio/strict"
)

// TestMutatedObjects changes the golden objects at random places, a value or
// the name of a field at a time, and demands the same promises of what comes
// out as the fuzz targets. Unlike those it keeps the form of an object.
func TestMutatedObjects(t *testing.T) {
	const rounds = 60
	random := rand.New(rand.NewPCG(1, 2))
	for _, g := range goldens(t) {
		for range rounds {
			var tree any
			if err := json.Unmarshal(g.object.JSON, &tree); err != nil {
				t.Fatal(err)
			}
			o := g.object
			for range 1 + random.IntN(2) {
				tree = mutate(random, tree)
			}
			var err error
			if o.JSON, err = json.Marshal(tree); err != nil {
				t.Fatal(err)
			}
			value, problems := decodeObject(t, o)
			checkProblems(t, o, problems)
			checkValue(t, value, problems)
			if t.Failed() {
				t.Fatalf("%s changed to %s", g.file, o.JSON)
			}
		}
	}
}

// mutate returns the tree with a change at a random place.
func mutate(random *rand.Rand, tree any) any {
	odd := []any{
		nil, true, -1, 0, 1.5, 70000, 4294967295, 1e30, "", "*", "/", "x", "%", "a\nb", "é", "[", `\x{100}`, "5s", "-5s", "1|2",
		[]any{},
		[]any{nil},
		[]any{map[string]any{}},
		map[string]any{},
		map[string]any{"": ""},
		map[string]any{"]": 1},
	}
	switch v := tree.(type) {
	case map[string]any:
		if len(v) == 0 || random.IntN(12) == 0 {
			return odd[random.IntN(len(odd))]
		}
		key := strict.SortedKeys(v)[random.IntN(len(v))]
		switch random.IntN(12) {
		case 0:
			delete(v, key)
		case 1:
			v[key+"s"] = v[key]
			delete(v, key)
		default:
			v[key] = mutate(random, v[key])
		}
		return v
	case []any:
		if len(v) == 0 || random.IntN(12) == 0 {
			return odd[random.IntN(len(odd))]
		}
		i := random.IntN(len(v))
		if random.IntN(12) == 0 {
			return slices.Insert(v, i, v[i])
		}
		v[i] = mutate(random, v[i])
		return v
	}
	return odd[random.IntN(len(odd))]
}
