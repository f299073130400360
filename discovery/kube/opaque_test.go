package kube

import (
	"strings"
	"testing"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
)

func TestOpaque(t *testing.T) {
	const secret, configMap = "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
	content := func(pairs ...string) *model.Opaque {
		o := &model.Opaque{Content: map[string][]byte{}}
		for i := 0; i < len(pairs); i += 2 {
			o.Content[pairs[i]] = []byte(pairs[i+1])
		}
		return o
	}
	runCases(t, []decodeCase{
		{
			"secret", secret + "type: kubernetes.io/tls\nimmutable: true\ndata: {a: aGVsbG8=, b: YQ==, empty: \"\"}\nstringData: {b: plain, c: more}",
			content("a", "hello", "b", "plain", "c", "more", "empty", ""), nil,
		},
		{"secret without entries", secret, content(), nil},
		{"secret with bad entries", secret + "data: {a: \"!\", b: 5, c: null, d: YQ==}\nstringData: {d: 7}", content("d", "a"), []string{
			"error data[a] InvalidValue", "error data[b] WrongType", "error data[c] WrongType", "error stringData[d] WrongType",
		}},
		{"secret with unknown field", secret + "dta: {}", content(), []string{"error dta UnknownField"}},
		{"secret of the wrong type", secret + "data: []", nil, []string{"error data WrongType"}},
		{"config map", configMap + "immutable: false\ndata: {a: hello}\nbinaryData: {b: YQ==}", content("a", "hello", "b", "a"), nil},
		{"config map with bad entries", configMap + "data: {a: hello, num: 5}\nbinaryData: {a: YQ==, b: \"*\"}", content("a", "hello"), []string{
			"error binaryData[a] InvalidValue", "error binaryData[b] InvalidValue", "error data[num] WrongType",
		}},
		{"config map with unknown field", configMap + "stringData: {}", content(), []string{"error stringData UnknownField"}},
		{"config map of the wrong type", configMap + "immutable: 1", nil, []string{"error immutable WrongType"}},
	})
}

// TestNoValueInProblems shows that what may be secret is in no message.
func TestNoValueInProblems(t *testing.T) {
	for _, text := range []string{
		`{"data":{"k":"hunter2!"},"stringData":{"k":12345678}}`,
		`{"data":"hunter2"}`, `{"data":12345678}`, `{"data":{"k":["hunter2"]}}`, `{"type":12345678}`, `{"data":{"k":"hunter2"`,
	} {
		_, problems := decodeSecret(config.Object{JSON: []byte(text)})
		if len(problems) == 0 {
			t.Errorf("%s: no problem", text)
		}
		for _, p := range problems {
			if s := p.Field + p.Message; strings.Contains(s, "hunter2") || strings.Contains(s, "12345678") {
				t.Errorf("%s: the problem shows the value: %s", text, s)
			}
		}
	}
}

func TestRepeatedField(t *testing.T) {
	_, problems := decodeSecret(config.Object{JSON: []byte(`{"type":"a","type":"b"}`)})
	if len(problems) != 1 || problems[0].Reason != model.ReasonInvalidSyntax || problems[0].Field != "type" {
		t.Errorf("problems %v", problems)
	}
}
