package resolver

import "iter"

// routeIndex finds the first route of a list that matches a request, in about the
// same time for one route and for a thousand.
//
// Every route has a literal that the path must be, or start with, perhaps the empty
// one (a regular expression has what all its matches start with). Exact literals
// are in a map and prefixes in a tree, so that a path leads to few sets of candidates:
// one from the map and one for each of its prefixes. Within a set, candidates
// that ask for one value of the same header are in a map again. What is left is
// tried in the routes' order. The best of a set bounds the search in the next one,
// so that the first match of the list is found although sets are not merged.
type routeIndex struct {
	matches []*routeMatch

	exact  map[string]*candidates
	long   uint64 // bit n: an exact literal is n bytes long, modulo 64
	prefix *radix
	// folded is the tree of the literals, exact ones too, whose case does not matter.
	folded *radix
}

// candidates are the routes with one literal.
type candidates struct {
	list  []int32 // in order
	keyed []keyedCandidates
}

// keyedCandidates are routes that ask for an exact value of one header.
type keyedCandidates struct {
	header *headerRef
	first  int32
	values map[string][]int32
}

// minKeyed is how many routes must ask for values of a header to be put in a map.
// Comparing so few values takes less than the hash of one.
const minKeyed = 4

func newRouteIndex(matches []*routeMatch) *routeIndex {
	x := &routeIndex{matches: matches}
	for i, m := range matches {
		m.unconditional = m.always()
		c := x.candidates(m)
		if n := len(c.list); n > 0 && matches[c.list[n-1]].unconditional {
			continue // never reached
		}
		c.list = append(c.list, int32(i))
	}
	for _, c := range x.exact {
		c.key(matches)
	}
	x.prefix.key(matches)
	x.folded.key(matches)
	return x
}

// candidates returns the set that m belongs to.
func (x *routeIndex) candidates(m *routeMatch) *candidates {
	if m.exact && !m.fold {
		if x.exact == nil {
			x.exact = make(map[string]*candidates)
		}
		c := x.exact[m.literal]
		if c == nil {
			c = &candidates{}
			x.exact[m.literal] = c
			x.long |= 1 << (len(m.literal) % 64)
		}
		return c
	}
	tree := &x.prefix
	if m.fold {
		tree = &x.folded
	}
	if *tree == nil {
		*tree = &radix{}
	}
	n := (*tree).insert(m.literal)
	if n.routes == nil {
		n.routes = &candidates{}
	}
	return n.routes
}

func (n *radix) key(matches []*routeMatch) {
	if n == nil {
		return
	}
	if n.routes != nil {
		n.routes.key(matches)
	}
	for _, child := range n.children {
		child.key(matches)
	}
}

// key moves candidates to maps, for each header that enough of them ask for.
func (c *candidates) key(matches []*routeMatch) {
	count := make(map[string]int)
	for _, i := range c.list {
		if h := matches[i].exactHeader(); h != nil {
			count[h.header.name.Lower]++
		}
	}
	keyed := make(map[string]int) // index in c.keyed
	rest := c.list[:0]
	for _, i := range c.list {
		h := matches[i].exactHeader()
		if h == nil || count[h.header.name.Lower] < minKeyed {
			rest = append(rest, i)
			continue
		}
		k, ok := keyed[h.header.name.Lower]
		if !ok {
			k = len(c.keyed)
			keyed[h.header.name.Lower] = k
			c.keyed = append(c.keyed, keyedCandidates{header: &h.header, first: i, values: make(map[string][]int32)})
		}
		value, _ := h.exact()
		c.keyed[k].values[value] = append(c.keyed[k].values[value], i)
	}
	c.list = rest
}

// exactHeader returns the first header matcher that asks for one value.
func (m *routeMatch) exactHeader() *headerMatcher {
	for i := range m.headers {
		if _, ok := m.headers[i].exact(); ok {
			return &m.headers[i]
		}
	}
	return nil
}

// find returns the place of the first route that matches, or the number of routes. path is
// r's, less what policy says to leave out.
func (x *routeIndex) find(r *Request, path string) int32 {
	best := int32(len(x.matches))
	for c := range x.sets(path) {
		best = x.first(c, best, r, path)
	}
	return best
}

// sets are the sets of candidates that a path leads to.
func (x *routeIndex) sets(path string) iter.Seq[*candidates] {
	return func(yield func(*candidates) bool) {
		if x.long&(1<<(len(path)%64)) != 0 { // else there is no need to ask the map
			if c := x.exact[path]; c != nil && !yield(c) {
				return
			}
		}
		rest := path
		for n := x.prefix; n != nil; n, rest = n.next(rest) {
			if n.routes != nil && !yield(n.routes) {
				return
			}
		}
		rest = path
		for n := x.folded; n != nil; n, rest = n.nextFold(rest) {
			if n.routes != nil && !yield(n.routes) {
				return
			}
		}
	}
}

// first returns the first candidate before best that matches, or best.
func (x *routeIndex) first(c *candidates, best int32, r *Request, path string) int32 {
	best = x.firstOf(c.list, best, r, path)
	for i := range c.keyed {
		k := &c.keyed[i]
		if k.first >= best {
			continue
		}
		value, others, ok := k.header.values(r)
		if ok {
			best = x.firstOf(k.values[value], best, r, path)
		}
		for _, value := range others {
			best = x.firstOf(k.values[value], best, r, path)
		}
	}
	return best
}

func (x *routeIndex) firstOf(list []int32, best int32, r *Request, path string) int32 {
	for _, i := range list {
		if i >= best {
			break
		}
		if m := x.matches[i]; m.unconditional || m.conditions(r, path) {
			return i
		}
	}
	return best
}
