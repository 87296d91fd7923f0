package resolver

import (
	"strings"

	"github.com/weft-mesh/weft/internal/match"
)

// radix is a tree of prefixes: following a path down the tree meets every prefix of
// it that was inserted, from the shortest to the longest.
type radix struct {
	label    string // what leads here from the parent
	routes   *candidates
	first    string // first byte of each child's label, in the order of children
	children []*radix
}

// insert returns the node of prefix.
func (n *radix) insert(prefix string) *radix {
	for prefix != "" {
		i := strings.IndexByte(n.first, prefix[0])
		if i < 0 {
			child := &radix{label: prefix}
			n.first += prefix[:1]
			n.children = append(n.children, child)
			return child
		}
		child := n.children[i]
		shared := commonPrefix(prefix, child.label)
		if shared < len(child.label) { // split the edge
			middle := &radix{label: child.label[:shared], first: child.label[shared : shared+1], children: []*radix{child}}
			child.label = child.label[shared:]
			n.children[i] = middle
			child = middle
		}
		n, prefix = child, prefix[shared:]
	}
	return n
}

// next returns the child that path leads to, and the rest of path, or nil.
func (n *radix) next(path string) (*radix, string) {
	if path == "" || len(n.children) == 0 {
		return nil, ""
	}
	i := 0 // an only child's whole label is compared anyway
	if len(n.children) > 1 {
		if i = strings.IndexByte(n.first, path[0]); i < 0 {
			return nil, ""
		}
	}
	rest, ok := strings.CutPrefix(path, n.children[i].label)
	if !ok {
		return nil, ""
	}
	return n.children[i], rest
}

// nextFold is next for a tree of lower-case prefixes, whatever the case of path.
func (n *radix) nextFold(path string) (*radix, string) {
	if path == "" {
		return nil, ""
	}
	i := strings.IndexByte(n.first, match.LowerByte(path[0]))
	if i < 0 || !match.HasPrefixFold(path, n.children[i].label) {
		return nil, ""
	}
	return n.children[i], path[len(n.children[i].label):]
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
