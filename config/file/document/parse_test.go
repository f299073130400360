package document

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegw/sluice/model"
)

const head = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name string
		file string // default a.yaml
		in   string
		want []string // "ref index line json"
		bad  []string // "line reason field", with the object's ref in front unless it is the file
		say  string   // a part of the first problem's message
	}{
		{name: "one", in: head + "spec: {port: 1}\n", want: []string{
			`Service default/a 0 1 {"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"port":1}}`,
		}},
		{name: "nothing", in: ""},
		{name: "comments and empty documents", in: "# x\n---\n---\n# y\n---\n" + head + "---\nnull\n", want: []string{
			`Service default/a 0 6 {"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}`,
		}},
		{name: "several documents and namespaces", in: head + "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g.x, namespace: shop}\n", want: []string{
			`Service default/a 0 1 {"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}`,
			`Gateway shop/g.x 1 5 {"apiVersion":"networking.istio.io/v1","kind":"Gateway","metadata":{"name":"g.x","namespace":"shop"}}`,
		}},
		{name: "numbers as written or exact", in: head + "n: [9007199254740993, 123456789012345678901234567890, 1.0, 1e3, 0x10, 0o17, 0755, 1_000, +5, .5, -0]\n", want: []string{
			`Service default/a 0 1 {"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"n":[9007199254740993,123456789012345678901234567890,1.0,1e3,16,15,493,1000,5,0.5,-0]}`,
		}},
		{name: "strings, booleans, times", in: head + "s: [yes, on, 'true', true, False, ~, 2024-01-02, \"q\\\"\\n\\u00e9\", !!str 1]\n", want: []string{
			`Service default/a 0 1 {"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"s":["yes","on","true",true,false,null,"2024-01-02","q\"\né","1"]}`,
		}},
		{name: "keys sorted", in: "kind: Service\nmetadata: {name: a}\napiVersion: v1\nb: 1\na: 2\n", want: []string{
			`Service default/a 0 1 {"a":2,"apiVersion":"v1","b":1,"kind":"Service","metadata":{"name":"a"}}`,
		}},
		{name: "aliases and merge keys", in: head + "x: &x {p: 1, q: 2}\ny: *x\nz: {<<: *x, q: 3}\nw: {<<: [{r: 1}, *x], p: 0}\n", want: []string{
			`Service default/a 0 1 {"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"w":{"p":0,"q":2,"r":1},"x":{"p":1,"q":2},"y":{"p":1,"q":2},"z":{"p":1,"q":3}}`,
		}},
		{name: "list", in: "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n- apiVersion: v1\n  kind: List\n  items:\n  - apiVersion: v1\n    kind: Service\n    metadata: {name: b}\n", want: []string{
			`Service default/a 0 4 {"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}`,
			`Service default/b 1 10 {"apiVersion":"v1","kind":"Service","metadata":{"name":"b"}}`,
		}},
		{name: "typed list gives its items their kind", in: "apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: a}\n", want: []string{
			`Service default/a 0 4 {"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}`,
		}},
		{name: "empty lists", in: "apiVersion: v1\nkind: List\n---\napiVersion: v1\nkind: List\nitems:\n---\napiVersion: v1\nkind: ServiceList\nitems: []\n"},
		{name: "an object whose kind ends in List", in: "apiVersion: x.io/v1\nkind: AllowList\nmetadata: {name: a}\n", want: []string{
			`AllowList default/a 0 1 {"apiVersion":"x.io/v1","kind":"AllowList","metadata":{"name":"a"}}`,
		}},
		{name: "json", file: "a.json", in: "{\"apiVersion\":\"v1\",\n\"kind\":\"Service\",\"metadata\":{\"name\":\"a\"},\"n\":[1.50,true,null,\"\\ud83d\\ude00\"]}\n{\"apiVersion\":\"v1\",\"kind\":\"Service\",\n\"metadata\":{\"name\":\"b\"}}", want: []string{
			`Service default/a 0 1 {"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"n":[1.50,true,null,"😀"]}`,
			`Service default/b 1 3 {"apiVersion":"v1","kind":"Service","metadata":{"name":"b"}}`,
		}},
		{name: "json syntax", file: "a.json", in: "{\"apiVersion\":\"v1\",\n\"kind\" \"Service\"}", bad: []string{"2 InvalidSyntax "}},
		{name: "json cut off", file: "a.json", in: "{\"apiVersion\":\"v1\",\n", bad: []string{"1 InvalidSyntax "}, say: "unexpected EOF"},
		{name: "json list at the top", file: "a.json", in: "[]", bad: []string{"1 WrongType "}, say: "is a list"},
		{name: "json too deep", file: "a.json", in: strings.Repeat("[", 300), bad: []string{"1 InvalidSyntax "}, say: "deeper than 200"},
		{name: "yaml syntax spoils the whole file", in: head + "---\na: [\n", bad: []string{"5 InvalidSyntax "}},
		{name: "bytes that are not UTF-8", in: head + "x: \xff\n", bad: []string{"4 InvalidSyntax "}},
		{name: "a zero byte", in: head + "\n\nx: \x00\n", bad: []string{"6 InvalidSyntax "}},
		{name: "yaml too deep", in: head + "x: " + strings.Repeat("[", 300) + strings.Repeat("]", 300), bad: []string{"Service default/a 4 InvalidSyntax x" + strings.Repeat("[0]", 200)}},
		{name: "bad documents leave the others", in: "kind: X\nmetadata: {name: a}\n---\napiVersion: v1\nmetadata: {name: a}\n---\napiVersion: v1\nkind: X\n---\napiVersion: v1\nkind: X\nmetadata: {namespace: a}\n---\n- 1\n---\ntext\n---\n" + head, want: []string{
			`Service default/a 6 18 {"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}`,
		}, bad: []string{
			"1 MissingField apiVersion", "4 MissingField kind", "7 MissingField metadata.name",
			"10 MissingField metadata.name", "14 WrongType ", "16 WrongType ",
		}, say: "the object has no apiVersion; add one"},
		{name: "identities of the wrong kind", in: "apiVersion: 1\nkind: X\nmetadata: {name: a}\n---\napiVersion: v1\nkind: X\nmetadata: {name: 1}\n---\napiVersion: v1\nkind: X\nmetadata: []\n---\napiVersion: a/b/c\nkind: X\nmetadata: {name: a}\n", bad: []string{
			"1 WrongType apiVersion", "7 WrongType metadata.name", "11 WrongType metadata", "13 InvalidValue apiVersion",
		}, say: `apiVersion is the number "1"`},
		{name: "names", in: "apiVersion: v1\nkind: X\nmetadata: {name: A_b}\n---\napiVersion: v1\nkind: X\nmetadata: {name: a-}\n---\napiVersion: v1\nkind: X\nmetadata: {name: a, namespace: b.c}\n---\napiVersion: v1\nkind: X\nmetadata: {name: " + strings.Repeat("a", 254) + "}\n", bad: []string{
			"3 InvalidValue metadata.name", "7 InvalidValue metadata.name", "11 InvalidValue metadata.namespace", "15 InvalidValue metadata.name",
		}, say: `"A_b"`},
		{name: "duplicate key", in: head + "spec:\n  http: 1\n  http: 2\n", bad: []string{"Service default/a 6 InvalidSyntax spec.http"}, say: "already set on line 5"},
		{name: "key that is no string", in: head + "spec:\n  a.b:\n  - 8080: x\n", bad: []string{`Service default/a 6 InvalidSyntax spec["a.b"][0]`}, say: "put it in quotes"},
		{name: "infinite", in: head + "x: .inf\n", bad: []string{"Service default/a 4 InvalidSyntax x"}},
		{name: "foreign tag", in: head + "x: !mine 1\n", bad: []string{"Service default/a 4 InvalidSyntax x"}, say: "tag !mine"},
		{name: "bad merge", in: head + "x: {<<: 1}\n", bad: []string{"Service default/a 4 InvalidSyntax x"}},
		{name: "metadata of the wrong kind", in: "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  labels: {x: 1, y: z}\n  annotations: [1]\n  creationTimestamp: soon\n", want: []string{
			`Service default/a 0 1 {"apiVersion":"v1","kind":"Service","metadata":{"annotations":[1],"creationTimestamp":"soon","labels":{"x":1,"y":"z"},"name":"a"}}`,
		}, bad: []string{
			"Service default/a 5 WrongType metadata.labels.x", "Service default/a 6 WrongType metadata.annotations",
			"Service default/a 7 InvalidValue metadata.creationTimestamp",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			from := Origin{Path: "a.yaml", Order: "0000:a.yaml"}
			if tc.file != "" {
				from.Path = tc.file
			}
			c := Parse(from, []byte(tc.in))
			var got []string
			for _, d := range c.Objects {
				got = append(got, fmt.Sprintf("%s %d %d %s", d.Ref, d.Order.Index, d.Line, d.JSON))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
			var bad []string
			for _, p := range c.Problems {
				s := fmt.Sprintf("%d %s %s", p.Place.Line, p.Reason, p.Field)
				if p.Object != FileRef(from.Path) {
					s = p.Object.String() + " " + s
				}
				bad = append(bad, s)
			}
			if diff := cmp.Diff(tc.bad, bad); diff != "" {
				t.Errorf("problems (-want +got):\n%s\n%v", diff, c.Problems)
			}
			if tc.say != "" && (len(c.Problems) == 0 || !strings.Contains(c.Problems[0].Message, tc.say)) {
				t.Errorf("no %q in %v", tc.say, c.Problems)
			}
		})
	}
}

func TestParseMeta(t *testing.T) {
	c := Parse(Origin{Path: "x/a.yaml", Order: "0001:a.yaml"}, []byte("apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata:\n  name: a\n  labels: &l {a: b}\n  annotations: {<<: *l, c/d: e}\n  creationTimestamp: 2024-01-02T03:04:05+01:00\n"))
	if len(c.Objects) != 1 || len(c.Problems) != 0 {
		t.Fatalf("parse: %+v", c)
	}
	want := model.Meta{
		Ref:         model.Ref{Group: "networking.istio.io", Kind: "Gateway", Namespace: "default", Name: "a"},
		Created:     time.Date(2024, 1, 2, 2, 4, 5, 0, time.UTC),
		Order:       model.Order{Path: "0001:a.yaml"},
		Labels:      map[string]string{"a": "b"},
		Annotations: map[string]string{"a": "b", "c/d": "e"},
	}
	if diff := cmp.Diff(want, c.Objects[0].Meta); diff != "" {
		t.Errorf("meta (-want +got):\n%s", diff)
	}
	if v := c.Objects[0].APIVersion; v != "networking.istio.io/v1" {
		t.Errorf("apiVersion %q", v)
	}
}

func TestHash(t *testing.T) {
	base := Parse(Origin{Path: "a.yaml", Order: "a"}, []byte(head+"spec: {a: 1, b: 2}\n")).Objects[0].Hash
	for _, tc := range []struct {
		name, order, in string
		same            bool
	}{
		{"lines, comments, order of keys", "a", "\n# new\n" + head + "spec:\n  b: 2\n  a: 1\n", true},
		{"value", "a", head + "spec: {a: 1, b: 3}\n", false},
		{"path", "b", head + "spec: {a: 1, b: 2}\n", false},
		{"index", "a", "x\n---\n" + head + "spec: {a: 1, b: 2}\n", false},
		{"created", "a", "apiVersion: v1\nkind: Service\nmetadata: {name: a, creationTimestamp: 2024-01-02T03:04:05Z}\nspec: {a: 1, b: 2}\n", false},
	} {
		got := Parse(Origin{Path: "a.yaml", Order: tc.order}, []byte(tc.in)).Objects[0].Hash
		if (got == base) != tc.same {
			t.Errorf("%s: equal %v, want %v", tc.name, got == base, tc.same)
		}
	}
}

// Small files that would grow without bound if every alias were followed.
func TestParseBombs(t *testing.T) {
	chain := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i+1, i)
		}
		return b.String()
	}
	for name, in := range map[string]string{
		"lists":        head + "l0: &l0 [x]\n" + chain("l%d: &l%[1]d [*l%[2]d,*l%[2]d,*l%[2]d,*l%[2]d,*l%[2]d,*l%[2]d,*l%[2]d,*l%[2]d,*l%[2]d]\n", 30),
		"merge keys":   head + "l0: &l0 {x: 1}\n" + chain("l%d: &l%[1]d {<<: [*l%[2]d,*l%[2]d,*l%[2]d,*l%[2]d]}\n", 60),
		"empty merges": head + "l0: &l0 {}\n" + chain("l%d: &l%[1]d {<<: [*l%[2]d,*l%[2]d,*l%[2]d,*l%[2]d]}\n", 60),
		"self":         head + "x: &x [*x, *x]\n",
		"documents":    strings.Repeat(head+"x: &x [a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a]\ny: &y [*x,*x,*x,*x,*x,*x,*x,*x,*x,*x,*x,*x]\nz: &z [*y,*y,*y,*y,*y,*y,*y,*y,*y,*y,*y,*y]\nu: [*z,*z,*z,*z,*z,*z,*z,*z,*z,*z,*z,*z,*z]\n---\n", 200),
		"list items":   "apiVersion: v1\nkind: List\nitems:\n- &l0 {kind: List, items: []}\n" + chain("- &l%d {kind: List, items: [*l%[2]d,*l%[2]d,*l%[2]d,*l%[2]d]}\n", 60),
	} {
		t.Run(name, func(t *testing.T) {
			c := Parse(Origin{Path: "a.yaml"}, []byte(in))
			if len(c.Problems) == 0 {
				t.Fatalf("no problem; %d objects", len(c.Objects))
			}
			size := 0
			for _, d := range c.Objects {
				size += len(d.JSON)
			}
			if size > 2*aliasBudget {
				t.Errorf("%d bytes of JSON from %d", size, len(in))
			}
		})
	}
}

// Whatever the bytes: no panic, and what an object becomes as JSON is read
// back as the same object.
func FuzzParse(f *testing.F) {
	f.Add([]byte(head+"spec: {a: &x [1, 0x1F, 1.5, yes, ~], b: *x, c: {<<: {d: \"\\u00e9\\n\"}}}\n"), false)
	f.Add([]byte("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: X, metadata: {name: a, labels: {a: b}}}\n---\n- 1\n"), false)
	f.Add([]byte(`{"apiVersion":"v1","kind":"X","metadata":{"name":"a"},"x":[1e400,"\ud800",{}]}`), true)
	f.Add([]byte("a: &a [*a]\n--- !x\n? {a: b}\n: c\n"), false)
	f.Fuzz(func(t *testing.T, in []byte, isJSON bool) {
		from := Origin{Path: "a.yaml", Order: "a"}
		if isJSON {
			from.Path = "a.json"
		}
		for _, d := range Parse(from, in).Objects {
			again := Parse(Origin{Path: "b.json", Order: "a"}, d.JSON)
			if strings.HasSuffix(d.Ref.Kind, "List") {
				continue // as a document of its own it is unfolded
			}
			if len(again.Objects) != 1 || again.Objects[0].Ref != d.Ref || !bytes.Equal(again.Objects[0].JSON, d.JSON) {
				t.Fatalf("%s became %+v", d.JSON, again)
			}
		}
	})
}
