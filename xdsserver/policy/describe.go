package policy

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// describe says what a node is, for people.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch tag := n.ShortTag(); tag {
	case "!!null":
		return "nothing"
	case "!!str":
		return "the text " + strconv.Quote(shorten(n.Value))
	case "!!int", "!!float":
		return "the number " + shorten(n.Value)
	case "!!bool":
		return shorten(n.Value)
	case "!!timestamp":
		return "the date " + shorten(n.Value)
	default:
		return "a value with the tag " + shorten(tag)
	}
}

// shorten keeps an error readable whatever the value.
func shorten(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}
