package store

import (
	"cmp"
	"slices"
)

// index is the way back from a resource to those who want it, for one type.
type index struct {
	byName   map[string]*audience
	wildcard audience
}

// audience is the subscribers of one name, sorted by their ids. A sorted slice
// holds a thousand of them in a third of a map's memory, and since ids grow, a new
// subscriber nearly always goes to the end.
type audience struct {
	name string
	subs []*Subscriber
}

func byID(s *Subscriber, id uint64) int { return cmp.Compare(s.id, id) }

func (a *audience) add(s *Subscriber) {
	if n := len(a.subs); n == 0 || a.subs[n-1].id < s.id {
		a.subs = append(a.subs, s)
		return
	}
	if i, found := slices.BinarySearchFunc(a.subs, s.id, byID); !found {
		a.subs = slices.Insert(a.subs, i, s)
	}
}

func (a *audience) remove(s *Subscriber) {
	if i, found := slices.BinarySearchFunc(a.subs, s.id, byID); found {
		a.subs = slices.Delete(a.subs, i, i+1)
	}
}

func (x *index) add(name string, s *Subscriber) (interned string) {
	a := x.byName[name]
	if a == nil {
		a = &audience{name: name}
		x.byName[name] = a
	}
	a.add(s)
	return a.name
}

// remove forgets the name with its last subscriber, so that names that clients
// made up do not stay.
func (x *index) remove(name string, s *Subscriber) {
	a := x.byName[name]
	if a == nil {
		return
	}
	a.remove(s)
	if len(a.subs) == 0 {
		delete(x.byName, name)
	}
}

func (x *index) empty() bool { return len(x.byName) == 0 && len(x.wildcard.subs) == 0 }

// mark makes the names dirty for everyone who wants them.
func (x *index) mark(typeURL string, names []string) {
	for _, name := range names {
		if a := x.byName[name]; a != nil {
			for _, s := range a.subs {
				s.mark(typeURL, name)
			}
		}
		for _, s := range x.wildcard.subs {
			s.mark(typeURL, name)
		}
	}
}
