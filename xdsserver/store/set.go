package store

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Set is all that there is to serve at one moment. It is immutable; a nil Set is
// empty.
type Set struct {
	tables  map[string]*Table
	version string
}

// Table is the resources of one type. It is immutable; a nil Table is empty.
type Table struct {
	byName map[string]*Resource
	sorted []*Resource
	digest uint64
}

// Table returns the resources of a type, nil if there are none.
func (s *Set) Table(typeURL string) *Table {
	if s == nil {
		return nil
	}
	return s.tables[typeURL]
}

// Types returns the type URLs that have resources, sorted.
func (s *Set) Types() []string {
	if s == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(s.tables))
}

// Version is derived from the content of the whole set: the same resources have
// the same version whichever process serves them.
func (s *Set) Version() string {
	if s == nil {
		return ""
	}
	return s.version
}

// Get returns the resource of that name, or nil.
func (t *Table) Get(name string) *Resource {
	if t == nil {
		return nil
	}
	return t.byName[name]
}

// All returns the resources sorted by name. The slice is shared: it must not be changed.
func (t *Table) All() []*Resource {
	if t == nil {
		return nil
	}
	return t.sorted
}

// Version is derived from the names and versions of the table's resources; it is
// what [VersionOf] gives for all of them.
func (t *Table) Version() string {
	if t == nil {
		return VersionOf(nil)
	}
	return formatVersion(t.digest)
}

// VersionOf derives a version from the names and versions of resources, in the
// order given.
func VersionOf(resources []*Resource) string { return formatVersion(digestOf(resources)) }

func digestOf(resources []*Resource) uint64 {
	var h xxhash.Digest
	h.Reset()
	var word [8]byte
	for _, r := range resources {
		for i := range word {
			word[i] = byte(r.digest >> (8 * i))
		}
		_, _ = h.Write(word[:])
	}
	return h.Sum64()
}

func formatVersion(digest uint64) string { return fmt.Sprintf("%016x", digest) }

// build makes the set of entries. A resource that old holds in the same version is
// taken over as it is, and so is a table in which nothing changed: what did not
// change costs neither encoding nor memory, and comparing pointers finds what did.
func build(entries []Entry, old *Set) (*Set, error) {
	tables := make(map[string]*Table)
	var problems []error
	for _, e := range entries {
		t := tables[e.TypeURL]
		if t == nil {
			size := len(old.Table(e.TypeURL).All())
			t = &Table{byName: make(map[string]*Resource, size), sorted: make([]*Resource, 0, size)}
			tables[e.TypeURL] = t
		}
		r := old.Table(e.TypeURL).Get(e.Name)
		if r == nil || e.Version == "" || r.version != e.Version {
			fresh, err := encode(e)
			if err != nil {
				problems = append(problems, err)
				continue
			}
			if r == nil || r.version != fresh.version {
				r = fresh
			}
		}
		if t.byName[e.Name] != nil {
			problems = append(problems, fmt.Errorf("%s %q: more than one resource of this name", e.TypeURL, e.Name))
		}
		t.byName[e.Name] = r
		t.sorted = append(t.sorted, r)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}

	var h xxhash.Digest
	h.Reset()
	for _, typeURL := range slices.Sorted(maps.Keys(tables)) {
		t := tables[typeURL]
		if byName := func(a, b *Resource) int { return cmp.Compare(a.name, b.name) }; !slices.IsSortedFunc(t.sorted, byName) {
			slices.SortFunc(t.sorted, byName)
		}
		t.digest = digestOf(t.sorted)
		if was := old.Table(typeURL); was != nil && slices.Equal(was.sorted, t.sorted) {
			tables[typeURL] = was
		}
		_, _ = fmt.Fprintf(&h, "%s\x00%016x", typeURL, t.digest)
	}
	return &Set{tables: tables, version: formatVersion(h.Sum64())}, nil
}
