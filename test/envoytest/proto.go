package envoytest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// LookUp returns the JSON of the field at path in m, and whether it is set.
func LookUp(t testing.TB, m proto.Message, path string) (string, bool) {
	t.Helper()
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(path, ".") {
		var level map[string]json.RawMessage
		if err := json.Unmarshal(text, &level); err != nil {
			t.Fatal(err)
		}
		inner, ok := level[name]
		if !ok {
			return "", false
		}
		text = inner
	}
	return string(text), true
}

// SameJSON reports whether two JSON texts mean the same.
func SameJSON(t testing.TB, a, b string) bool {
	t.Helper()
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	return cmp.Equal(x, y)
}
