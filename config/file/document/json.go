package document

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluicegw/sluice/model"
)

// aliasBudget bounds what the aliases of one file may add to it: bytes of
// text plus aliasNodeCost a node.
const (
	aliasBudget   = 8 << 20
	aliasNodeCost = 16
)

// fault is why a document cannot be used. Its field grows from the inside out
// while the error travels up.
type fault struct {
	reason  model.Reason
	line    int
	field   string
	message string
}

func (f *fault) below(step string) *fault {
	f.field = step + f.field
	return f
}

// encoder turns the documents of one file into JSON.
type encoder struct {
	buf     []byte
	budget  int // what aliases may still add
	aliases int // how many aliases enclose the current node
}

// document writes a document as JSON: keys sorted by byte, no white space,
// numbers that JSON can spell as they were written, so integers of any size
// stay exact. Aliases and merge keys are resolved. Scalars follow YAML 1.2
// ("yes" and "on" are strings), except that octal 0755 and 1_000 are still
// numbers, as kubectl reads them; times stay the text they were.
func (e *encoder) document(n *yaml.Node) ([]byte, *fault) {
	e.buf, e.aliases = nil, 0
	if f := e.node(n, 0); f != nil {
		f.field = strings.TrimPrefix(f.field, ".")
		return nil, f
	}
	return e.buf, nil
}

func (e *encoder) node(n *yaml.Node, depth int) *fault {
	if depth > maxDepth {
		return &fault{model.ReasonInvalidSyntax, n.Line, "", fmt.Sprintf("values nest deeper than %d levels; flatten them", maxDepth)}
	}
	if e.aliases > 0 {
		if f := e.spend(n, aliasNodeCost+len(n.Value)); f != nil {
			return f
		}
	}
	switch n.Kind {
	case yaml.AliasNode:
		e.aliases++
		defer func() { e.aliases-- }()
		return e.node(n.Alias, depth+1)
	case yaml.MappingNode:
		return e.mapping(n, depth)
	case yaml.SequenceNode:
		return e.sequence(n, depth)
	default:
		return e.scalar(n)
	}
}

// spend takes what an alias brought in from the budget.
func (e *encoder) spend(n *yaml.Node, cost int) *fault {
	if e.budget -= cost; e.budget < 0 {
		return &fault{model.ReasonInvalidSyntax, n.Line, "", "the aliases of this file expand to too much; write the values out"}
	}
	return nil
}

func (e *encoder) sequence(n *yaml.Node, depth int) *fault {
	if tag := n.ShortTag(); tag != "!!seq" {
		return unknownTag(n, tag)
	}
	e.buf = append(e.buf, '[')
	for i, item := range n.Content {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		if f := e.node(item, depth+1); f != nil {
			return f.below("[" + strconv.Itoa(i) + "]")
		}
	}
	e.buf = append(e.buf, ']')
	return nil
}

type pair struct {
	key   string
	value *yaml.Node
}

func (e *encoder) mapping(n *yaml.Node, depth int) *fault {
	pairs, f := e.pairs(n, depth)
	if f != nil {
		return f
	}
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	e.buf = append(e.buf, '{')
	for i, p := range pairs {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		e.text(p.key)
		e.buf = append(e.buf, ':')
		if f := e.node(p.value, depth+1); f != nil {
			return f.below(step(p.key))
		}
	}
	e.buf = append(e.buf, '}')
	return nil
}

// pairs returns the entries of a mapping: its own, then those of its merge
// keys that it does not have itself.
func (e *encoder) pairs(n *yaml.Node, depth int) ([]pair, *fault) {
	if tag := n.ShortTag(); tag != "!!map" {
		return nil, unknownTag(n, tag)
	}
	seen := make(map[string]int, len(n.Content)/2)
	var pairs []pair
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := target(n.Content[i])
		switch {
		case isMerge(k):
			merges = append(merges, mergeSources(n.Content[i+1])...)
			continue
		case k.Kind != yaml.ScalarNode:
			return nil, &fault{model.ReasonInvalidSyntax, k.Line, "", "a key is a list or a mapping; keys must be strings"}
		case k.ShortTag() != "!!str":
			return nil, &fault{model.ReasonInvalidSyntax, k.Line, "", fmt.Sprintf("key %s is not a string; put it in quotes", k.Value)}
		}
		if line, ok := seen[k.Value]; ok {
			return nil, &fault{model.ReasonInvalidSyntax, k.Line, step(k.Value), fmt.Sprintf("key %q is already set on line %d; remove one of the two", k.Value, line)}
		}
		seen[k.Value] = k.Line
		pairs = append(pairs, pair{k.Value, n.Content[i+1]})
	}
	for _, src := range merges {
		more, f := e.merged(src, n, depth)
		if f != nil {
			return nil, f
		}
		for _, p := range more {
			if _, ok := seen[p.key]; !ok {
				seen[p.key] = p.value.Line
				pairs = append(pairs, p)
			}
		}
	}
	return pairs, nil
}

// merged returns the entries that a merge key of n brings in from src. They
// come from an anchor, so they cost what an alias costs.
func (e *encoder) merged(src, n *yaml.Node, depth int) ([]pair, *fault) {
	m := target(src)
	if m == nil || m.Kind != yaml.MappingNode || depth > maxDepth {
		return nil, &fault{model.ReasonInvalidSyntax, n.Line, "", "the value of << is not a mapping; give it an alias of one"}
	}
	if f := e.spend(n, aliasNodeCost); f != nil {
		return nil, f
	}
	pairs, f := e.pairs(m, depth+1)
	if f != nil {
		return nil, f
	}
	for i, p := range pairs {
		if f := e.spend(n, aliasNodeCost+len(p.key)); f != nil {
			return nil, f
		}
		if src.Kind == yaml.AliasNode && p.value.Kind != yaml.AliasNode {
			pairs[i].value = &yaml.Node{Kind: yaml.AliasNode, Alias: p.value, Line: p.value.Line}
		}
	}
	return pairs, nil
}

func (e *encoder) scalar(n *yaml.Node) *fault {
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp":
		e.text(n.Value)
	case "!!null":
		e.buf = append(e.buf, "null"...)
	case "!!bool":
		b, err := strconv.ParseBool(n.Value)
		if err != nil {
			return &fault{model.ReasonInvalidSyntax, n.Line, "", fmt.Sprintf("%q is not a boolean; write true or false", n.Value)}
		}
		e.buf = strconv.AppendBool(e.buf, b)
	case "!!int", "!!float":
		return e.number(n)
	default:
		return unknownTag(n, tag)
	}
	return nil
}

func (e *encoder) number(n *yaml.Node) *fault {
	if isJSONNumber(n.Value) {
		e.buf = append(e.buf, n.Value...)
		return nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return &fault{model.ReasonInvalidSyntax, n.Line, "", fmt.Sprintf("%q is not a number; put it in quotes if it is text", n.Value)}
	}
	switch v := v.(type) {
	case int:
		e.buf = strconv.AppendInt(e.buf, int64(v), 10)
	case int64:
		e.buf = strconv.AppendInt(e.buf, v, 10)
	case uint64:
		e.buf = strconv.AppendUint(e.buf, v, 10)
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return &fault{model.ReasonInvalidSyntax, n.Line, "", fmt.Sprintf("%s is not a finite number; write one, or put it in quotes", n.Value)}
		}
		e.buf = strconv.AppendFloat(e.buf, v, 'g', -1, 64)
	default:
		return &fault{model.ReasonInvalidSyntax, n.Line, "", fmt.Sprintf("%q is not a number; put it in quotes if it is text", n.Value)}
	}
	return nil
}

// text appends s as a JSON string.
func (e *encoder) text(s string) {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string always marshals
			e.buf = append(e.buf, quoted...)
			return
		}
	}
	e.buf = append(e.buf, '"')
	e.buf = append(e.buf, s...)
	e.buf = append(e.buf, '"')
}

func unknownTag(n *yaml.Node, tag string) *fault {
	return &fault{model.ReasonInvalidSyntax, n.Line, "", fmt.Sprintf("tag %s is not supported; remove it", tag)}
}

// isJSONNumber reports whether s is a number by the grammar of RFC 8259
// section 6.
func isJSONNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	whole := digits(s)
	if whole == 0 || (whole > 1 && s[0] == '0') {
		return false
	}
	s = s[whole:]
	if strings.HasPrefix(s, ".") {
		n := digits(s[1:])
		if n == 0 {
			return false
		}
		s = s[1+n:]
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		n := digits(s)
		return n > 0 && n == len(s)
	}
	return s == ""
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// step returns a key as people write it in a field path: .key, or ["a.b/c"]
// when it holds more than letters, digits, "-" and "_".
func step(key string) string {
	for i := range len(key) {
		c := key[i]
		if !isAlnum(c) && c != '-' && c != '_' {
			return "[" + strconv.Quote(key) + "]"
		}
	}
	if key == "" {
		return `[""]`
	}
	return "." + key
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
