// Package document turns the bytes of a YAML or JSON file into raw objects.
//
// What goes in: the content of a file and how the file is called. What comes
// out: its objects as JSON with what their metadata says, a problem for
// everything that cannot be used, and the line of any field. It alone decides
// what is a document, which object it is, and what YAML means as JSON. It is
// pure, and bounded: no input makes it grow beyond a small multiple of itself.
package document

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.yaml.in/yaml/v3"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
)

// Object is one object of a file with the line it starts on.
type Object struct {
	config.Object
	Line int
}

// Content is what one version of a file says.
type Content struct {
	// Objects are in file order; the index in their Order counts the unusable
	// ones, too.
	Objects  []Object
	Problems []model.Problem
	// Broken: the file is not YAML or JSON; nothing of it counts.
	Broken bool
	// Nameless: some document cannot be used and does not say which object it
	// is, so it may be any object that the file held before.
	Nameless bool
	// Unusable are objects that the file holds in a form that cannot be used.
	Unusable map[model.Ref]bool
}

// Origin is which file it is.
type Origin struct {
	Path  string // for people, see [model.Place]; one that ends in .json is read as JSON
	Order string // for [model.Order]
}

// Parse reads the objects of a file. It never fails: what cannot
// be used is among the problems.
func Parse(from Origin, data []byte) Content {
	p := parser{from: from, enc: encoder{budget: aliasBudget}}
	roots, syntax := nodes(from.Path, data)
	if syntax != nil {
		p.Broken = true
		p.problem(FileRef(from.Path), fault{
			reason:  model.ReasonInvalidSyntax,
			line:    syntax.line,
			message: fmt.Sprintf("the file is not valid: %s; correct it, until then its last good version is used", syntax.reason),
		})
		return p.Content
	}
	for _, root := range roots {
		for _, it := range expand(root) {
			p.document(it)
			p.index++
		}
	}
	return p.Content
}

// FileRef is what the problems of a file as a whole are about.
func FileRef(path string) model.Ref { return model.Ref{Kind: "File", Name: path} }

type parser struct {
	Content
	from  Origin
	enc   encoder
	index int
}

func (p *parser) problem(obj model.Ref, f fault) {
	p.Problems = append(p.Problems, model.Problem{
		Object:   obj,
		Field:    f.field,
		Reason:   f.reason,
		Message:  f.message,
		Severity: model.SeverityError,
		Place:    model.Place{File: p.from.Path, Line: f.line},
	})
}

// document reads one object. Without an identity its problem belongs to the
// file, else to the object.
func (p *parser) document(n *yaml.Node) {
	id, f := identify(n)
	if f != nil {
		p.Nameless = true
		p.problem(FileRef(p.from.Path), *f)
		return
	}
	json, f := p.enc.document(n)
	if f != nil {
		if p.Unusable == nil {
			p.Unusable = map[model.Ref]bool{}
		}
		p.Unusable[id.ref] = true
		p.problem(id.ref, *f)
		return
	}
	obj := config.Object{APIVersion: id.apiVersion, JSON: json}
	obj.Ref = id.ref
	obj.Order = model.Order{Path: p.from.Order, Index: p.index}
	meta := value(n, "metadata")
	obj.Labels = p.strings(id.ref, meta, "labels")
	obj.Annotations = p.strings(id.ref, meta, "annotations")
	obj.Created = p.created(id.ref, value(meta, "creationTimestamp"))
	obj.Hash = hash(&obj)
	p.Objects = append(p.Objects, Object{Object: obj, Line: n.Line})
}

// hash covers everything of an object that a reader may depend on. Created is
// hashed beside the JSON because a bad one there means none here.
func hash(o *config.Object) uint64 {
	d := xxhash.New()
	write := func(b []byte) {
		_, _ = d.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(b))))
		_, _ = d.Write(b) // a digest never fails
	}
	write(o.JSON)
	write([]byte(o.Order.Path))
	write(binary.LittleEndian.AppendUint64(nil, uint64(o.Order.Index)))
	if !o.Created.IsZero() {
		write([]byte(o.Created.Format(time.RFC3339Nano)))
	}
	return d.Sum64()
}

// strings reads a mapping of strings below metadata. Entries of another type
// are left out, each with a problem.
func (p *parser) strings(obj model.Ref, meta *yaml.Node, key string) map[string]string {
	n := value(meta, key)
	if n == nil || n.ShortTag() == "!!null" {
		return nil
	}
	field := "metadata." + key
	if n.Kind != yaml.MappingNode {
		p.problem(obj, fault{model.ReasonWrongType, n.Line, field, fmt.Sprintf("%s is %s; write a mapping of strings", field, describe(n))})
		return nil
	}
	pairs, f := p.enc.pairs(n, 0)
	if f != nil {
		p.problem(obj, *f.below(field))
		return nil
	}
	out := make(map[string]string, len(pairs))
	for _, it := range pairs {
		v := target(it.value)
		if v.Kind != yaml.ScalarNode || v.ShortTag() != "!!str" {
			at := field + step(it.key)
			p.problem(obj, fault{model.ReasonWrongType, v.Line, at, fmt.Sprintf("%s is %s; put the value in quotes", at, describe(v))})
			continue
		}
		out[it.key] = v.Value
	}
	return out
}

// created reads metadata.creationTimestamp: RFC 3339, UTC in the result, zero
// when absent, null or bad.
func (p *parser) created(obj model.Ref, n *yaml.Node) time.Time {
	if n == nil || n.ShortTag() == "!!null" {
		return time.Time{}
	}
	const field = "metadata.creationTimestamp"
	t, err := time.Parse(time.RFC3339, n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		p.problem(obj, fault{model.ReasonInvalidValue, n.Line, field, fmt.Sprintf("creationTimestamp is %s, not a time of RFC 3339; write one like 2026-01-31T12:00:00Z or remove it", describe(n))})
		return time.Time{}
	}
	return t.UTC()
}

type identity struct {
	ref        model.Ref
	apiVersion string
}

// identify reads which object a document is, or why that cannot be said.
func identify(n *yaml.Node) (identity, *fault) {
	if n.Kind != yaml.MappingNode {
		return identity{}, &fault{model.ReasonWrongType, n.Line, "", fmt.Sprintf("the document is %s; write one object with apiVersion, kind and metadata (several belong in the items of kind: List)", describe(n))}
	}
	var id identity
	var f *fault
	if id.apiVersion, f = required(n, n, "apiVersion"); f != nil {
		return id, f
	}
	if id.ref.Group, f = group(id.apiVersion); f != nil {
		f.line = value(n, "apiVersion").Line
		return id, f
	}
	if id.ref.Kind, f = required(n, n, "kind"); f != nil {
		return id, f
	}
	meta := value(n, "metadata")
	if meta != nil && meta.Kind != yaml.MappingNode && meta.ShortTag() != "!!null" {
		return id, &fault{model.ReasonWrongType, meta.Line, "metadata", fmt.Sprintf("metadata is %s; write a mapping with a name", describe(meta))}
	}
	if id.ref.Name, f = required(n, meta, "name"); f != nil {
		return id, f.below("metadata.")
	}
	if !isSubdomain(id.ref.Name) {
		return id, &fault{model.ReasonInvalidValue, value(meta, "name").Line, "metadata.name", fmt.Sprintf("name %q is not a DNS name; use at most 253 lower-case letters, digits, '-' and '.', starting and ending with a letter or digit", id.ref.Name)}
	}
	id.ref.Namespace = "default"
	ns := value(meta, "namespace")
	if ns == nil || ns.ShortTag() == "!!null" || (ns.Kind == yaml.ScalarNode && ns.Value == "") {
		return id, nil
	}
	if id.ref.Namespace, f = required(n, meta, "namespace"); f != nil {
		return id, f.below("metadata.")
	}
	if !isLabel(id.ref.Namespace) {
		return id, &fault{model.ReasonInvalidValue, ns.Line, "metadata.namespace", fmt.Sprintf("namespace %q is not a DNS label; use at most 63 lower-case letters, digits and '-', starting and ending with a letter or digit", id.ref.Namespace)}
	}
	return id, nil
}

// required returns a string entry of parent, a mapping of document doc.
func required(doc, parent *yaml.Node, key string) (string, *fault) {
	n := value(parent, key)
	if n == nil || n.ShortTag() == "!!null" || (n.Kind == yaml.ScalarNode && n.Value == "") {
		line := doc.Line
		if n != nil {
			line = n.Line
		}
		return "", &fault{model.ReasonMissingField, line, key, fmt.Sprintf("the object has no %s; add one", key)}
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		return "", &fault{model.ReasonWrongType, n.Line, key, fmt.Sprintf("%s is %s; write a string, in quotes if it looks like something else", key, describe(n))}
	}
	return n.Value, nil
}

// group returns the part of an apiVersion before the slash; "" for "v1".
func group(apiVersion string) (string, *fault) {
	g, v, found := strings.Cut(apiVersion, "/")
	if !found {
		return "", nil
	}
	if g == "" || v == "" || strings.Contains(v, "/") {
		return "", &fault{reason: model.ReasonInvalidValue, field: "apiVersion", message: fmt.Sprintf("apiVersion %q is malformed; write group/version, for example networking.istio.io/v1", apiVersion)}
	}
	return g, nil
}

// describe names a value in a message, shortened.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.AliasNode:
		return "an alias"
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
		v := n.Value
		if len(v) > 60 {
			v = strings.ToValidUTF8(v[:60], "") + "..."
		}
		noun := map[string]string{"!!int": "the number", "!!float": "the number", "!!bool": "the boolean", "!!null": "the empty value"}[n.ShortTag()]
		return fmt.Sprintf("%s %q", cmp.Or(noun, "the text"), v)
	}
}

// isSubdomain reports whether s is a subdomain of RFC 1123 as Kubernetes
// understands it: labels of any length up to 253 in all, lower case.
func isSubdomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !labelShape(label) {
			return false
		}
	}
	return true
}

// isLabel reports whether s is a label of RFC 1123, lower case.
func isLabel(s string) bool { return len(s) <= 63 && labelShape(s) }

func labelShape(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
		case c == '-' && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return s != ""
}

// Restore returns an object that was read before from its JSON; false if that is
// none.
func Restore(at model.Order, line int, json []byte) (Object, bool) {
	c := Parse(Origin{Path: ".json", Order: at.Path}, json)
	if len(c.Objects) != 1 {
		return Object{}, false
	}
	o := c.Objects[0]
	o.Order, o.Line = at, line
	o.Hash = hash(&o.Object)
	return o, true
}
