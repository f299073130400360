package document

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// expand returns the objects of a document: itself, or the items when it is a
// list (kind List, or any kind ending so that has items), lists of lists
// included. Items of a typed list such as VirtualServiceList that leave out
// their own kind and apiVersion get the list's. Aliases are not followed here:
// an item that repeats another defines nothing new, and could multiply.
func expand(n *yaml.Node) []*yaml.Node {
	return expandWithin(n, 0)
}

func expandWithin(n *yaml.Node, depth int) []*yaml.Node {
	if n.Kind != yaml.MappingNode {
		return []*yaml.Node{n}
	}
	kind := value(n, "kind")
	if kind == nil || kind.Kind != yaml.ScalarNode || !strings.HasSuffix(kind.Value, "List") || depth > maxDepth {
		return []*yaml.Node{n}
	}
	items := own(n, "items")
	switch {
	case items == nil && kind.Value != "List":
		return []*yaml.Node{n}
	case items == nil || items.ShortTag() == "!!null":
		return nil
	case items.Kind != yaml.SequenceNode:
		return []*yaml.Node{n}
	}
	var out []*yaml.Node
	for _, it := range items.Content {
		if kind.Value != "List" && it.Kind == yaml.MappingNode {
			it = withDefaults(it, strings.TrimSuffix(kind.Value, "List"), value(n, "apiVersion"))
		}
		out = append(out, expandWithin(it, depth+1)...)
	}
	return out
}

// own returns the value of a mapping's own entry as it stands there.
func own(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Kind == yaml.ScalarNode && n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// withDefaults returns item with kind and apiVersion added where it has none.
func withDefaults(item *yaml.Node, kind string, apiVersion *yaml.Node) *yaml.Node {
	var add []*yaml.Node
	text := func(s string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Style: yaml.DoubleQuotedStyle, Line: item.Line}
	}
	if value(item, "kind") == nil {
		add = append(add, text("kind"), text(kind))
	}
	if value(item, "apiVersion") == nil && apiVersion != nil {
		add = append(add, text("apiVersion"), apiVersion)
	}
	if add == nil {
		return item
	}
	out := *item
	out.Content = append(add, item.Content...)
	return &out
}
