package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxDepth bounds how deep mappings and sequences may nest.
const maxDepth = 200

// syntaxError says where a file stops being YAML or JSON; line 0 is unknown.
type syntaxError struct {
	line   int
	reason string
}

// nodes returns the root node of every document of a file that is not empty,
// in file order. A fault of syntax anywhere makes the whole file unusable.
func nodes(name string, data []byte) ([]*yaml.Node, *syntaxError) {
	if filepath.Ext(name) == ".json" {
		return jsonNodes(data)
	}
	return yamlNodes(data)
}

func yamlNodes(data []byte) ([]*yaml.Node, *syntaxError) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var roots []*yaml.Node
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			return nil, yamlSyntax(err, data)
		}
		if len(doc.Content) == 1 && doc.Content[0].ShortTag() != "!!null" {
			roots = append(roots, doc.Content[0])
		}
	}
}

// yamlSyntax takes the line out of an error of the YAML parser, which has it
// only in its text: "yaml: line 3: did not find expected key". It has none for
// the first line, and none for bytes that no YAML holds.
func yamlSyntax(err error, data []byte) *syntaxError {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	m := regexp.MustCompile(`(?s)^line (\d+): (.*)$`).FindStringSubmatch(text)
	if m == nil {
		return &syntaxError{line: 1 + bytes.Count(data[:firstForeign(data)], []byte("\n")), reason: text}
	}
	line, _ := strconv.Atoi(m[1]) // digits by the pattern; overflow cannot happen below MaxFileBytes
	if slices.ContainsFunc(fromZero(), func(words string) bool { return strings.Contains(m[2], words) }) {
		line++
	}
	line = min(line, max(1, bytes.Count(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))+1)) // not behind the end
	return &syntaxError{line: line, reason: m[2]}
}

// fromZero are the words of errors whose lines the YAML library counts from 0:
// those of its parser. Those of its scanner count from 1.
func fromZero() []string {
	return []string{
		"did not find expected node content", "did not find expected key", "did not find expected '-' indicator",
		"did not find expected ',' or ']'", "did not find expected ',' or '}'", "did not find expected <document start>",
		"found undefined tag handle", "found duplicate %",
	}
}

// firstForeign returns the offset of the first byte that is not UTF-8 or a
// control character other than white space; 0 when there is none.
func firstForeign(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if (r == utf8.RuneError && size == 1) || (r < ' ' && r != '\t' && r != '\n' && r != '\r') || r == 0x7f {
			return i
		}
		i += size
	}
	return 0
}

// jsonNodes reads JSON values that follow each other, as the same nodes that
// YAML gives, with their lines and with numbers as written.
func jsonNodes(data []byte) ([]*yaml.Node, *syntaxError) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	r := jsonReader{dec: dec, data: data, line: 1}
	var roots []*yaml.Node
	for {
		n, err := r.value(0)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			return nil, r.syntax(err)
		}
		if n.Tag != "!!null" {
			roots = append(roots, n)
		}
	}
}

type jsonReader struct {
	dec  *json.Decoder
	data []byte
	off  int
	line int
}

// here returns the line at which the last token ended; no token of JSON spans
// lines.
func (r *jsonReader) here() int {
	end := int(r.dec.InputOffset())
	r.line += bytes.Count(r.data[r.off:end], []byte("\n"))
	r.off = end
	return r.line
}

func (r *jsonReader) syntax(err error) *syntaxError {
	line := r.here()
	var s *json.SyntaxError
	if errors.As(err, &s) && int(s.Offset) <= len(r.data) {
		line = 1 + bytes.Count(r.data[:s.Offset], []byte("\n"))
	}
	return &syntaxError{line: line, reason: err.Error()}
}

// value reads the next value. At the end of the input it returns io.EOF when
// depth is 0, else io.ErrUnexpectedEOF.
func (r *jsonReader) value(depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	tok, err := r.dec.Token()
	if errors.Is(err, io.EOF) && depth > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: r.here()}
	switch v := tok.(type) {
	case json.Delim:
		return n, r.container(n, v, depth)
	case string:
		n.Tag, n.Value, n.Style = "!!str", v, yaml.DoubleQuotedStyle
	case json.Number:
		n.Tag, n.Value = "!!float", v.String()
		if !strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!int"
		}
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(v)
	default:
		n.Tag, n.Value = "!!null", "null"
	}
	return n, nil
}

// container fills n with what follows an opening brace or bracket.
func (r *jsonReader) container(n *yaml.Node, open json.Delim, depth int) error {
	n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
	if open == '{' {
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
	}
	for r.dec.More() {
		item, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		n.Content = append(n.Content, item)
		if open != '{' {
			continue
		}
		if item, err = r.value(depth + 1); err != nil {
			return err
		}
		n.Content = append(n.Content, item)
	}
	_, err := r.dec.Token() // the closing one
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// target follows an alias to what it stands for.
func target(n *yaml.Node) *yaml.Node {
	for hops := 0; n != nil && n.Kind == yaml.AliasNode && hops < maxDepth; hops++ {
		n = n.Alias
	}
	return n
}

// lookup returns the key and value nodes of a mapping's entry, or nils. Entries
// that come through a merge key ("<<") count after the mapping's own.
func lookup(n *yaml.Node, key string) (k, v *yaml.Node) {
	budget := 1000
	return lookupWithin(n, key, &budget)
}

// lookupWithin is [lookup], looking into at most budget mappings.
func lookupWithin(n *yaml.Node, key string, budget *int) (k, v *yaml.Node) {
	n = target(n)
	if *budget--; n == nil || n.Kind != yaml.MappingNode || *budget < 0 {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := target(n.Content[i]); k != nil && k.Value == key && k.Kind == yaml.ScalarNode && !isMerge(k) {
			return n.Content[i], target(n.Content[i+1])
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !isMerge(n.Content[i]) {
			continue
		}
		for _, m := range mergeSources(n.Content[i+1]) {
			if k, v := lookupWithin(m, key, budget); v != nil {
				return k, v
			}
		}
	}
	return nil, nil
}

// value is [lookup] without the key.
func value(n *yaml.Node, key string) *yaml.Node {
	_, v := lookup(n, key)
	return v
}

func isMerge(k *yaml.Node) bool {
	return k.Kind == yaml.ScalarNode && k.Value == "<<" && k.ShortTag() == "!!merge"
}

// mergeSources returns the mappings that a merge key's value names: one, or a
// sequence of them, earlier ones first.
func mergeSources(v *yaml.Node) []*yaml.Node {
	v = target(v)
	if v != nil && v.Kind == yaml.SequenceNode {
		return v.Content
	}
	return []*yaml.Node{v}
}
