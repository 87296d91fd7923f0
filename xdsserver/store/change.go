package store

import "slices"

// Change is what one Apply changed: names by type URL. A type in which nothing
// changed is absent.
type Change map[string]TypeChange

// TypeChange is what changed in one type. The names are sorted.
type TypeChange struct {
	Added, Changed, Removed []string
}

// Count returns how many resources of all types were added, changed and removed.
func (c Change) Count() (added, changed, removed int) {
	for _, tc := range c {
		added += len(tc.Added)
		changed += len(tc.Changed)
		removed += len(tc.Removed)
	}
	return added, changed, removed
}

func compare(old, cur *Set) Change {
	change := make(Change)
	types := slices.Concat(old.Types(), cur.Types())
	slices.Sort(types)
	for _, typeURL := range slices.Compact(types) {
		was, is := old.Table(typeURL), cur.Table(typeURL)
		if was != is {
			change[typeURL] = compareTables(was.All(), is.All())
		}
	}
	return change
}

// compareTables walks two sorted lists side by side.
func compareTables(was, is []*Resource) TypeChange {
	var tc TypeChange
	for len(was) > 0 || len(is) > 0 {
		switch {
		case len(is) == 0 || len(was) > 0 && was[0].name < is[0].name:
			tc.Removed = append(tc.Removed, was[0].name)
			was = was[1:]
		case len(was) == 0 || is[0].name < was[0].name:
			tc.Added = append(tc.Added, is[0].name)
			is = is[1:]
		default:
			if was[0].version != is[0].version {
				tc.Changed = append(tc.Changed, is[0].name)
			}
			was, is = was[1:], is[1:]
		}
	}
	return tc
}
