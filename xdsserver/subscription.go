package xdsserver

import (
	"slices"

	"github.com/weft-mesh/weft/xdsserver/policy"
	"github.com/weft-mesh/weft/xdsserver/store"
)

// subscription is what one stream wants of one type and what it was told.
//
// What the client was told is not a list: it is the table that was newest when
// the client was last brought up to date, because at that moment it had every
// resource it subscribed, as that table holds it. The exceptions are asked for by
// name (asked) or told by the client itself (held).
//
// The receiver changes what is wanted, the sender what was told; both hold the
// stream's mu. No list is changed in place, since they share memory.
type subscription struct {
	typeURL string

	wildcard bool
	names    []string // explicitly subscribed, sorted; "*" is wildcard
	named    bool     // a name was subscribed at some time: an empty list no longer means all
	digest   uint64   // of the names in the last request, state of the world only
	digested bool     // names are those of that request

	// asked names have to be answered whatever the client is believed to have, all
	// names if askedAll.
	asked    []string // sorted
	askedAll bool

	answered bool              // the client was brought up to date at least once
	seen     *store.Table      // as of when it was
	held     map[string]string // versions that it said it has; until it is answered

	// leaving names are gone and the client has not been told. See stream.farewells.
	leaving []string // sorted

	// forgotten names were unsubscribed while a response which may hold them was on
	// its way. A client that subscribes to everything before it reads that response
	// keeps them, and has to be told if they are gone.
	forgotten []string

	outgoing int // answers that are about to be sent
	ack      acknowledgement
}

func (sub *subscription) wants(name string) bool {
	if sub.wildcard {
		return true
	}
	_, found := slices.BinarySearch(sub.names, name)
	return found
}

// wanted returns those names that the client wants.
func (sub *subscription) wanted(names []string) []string {
	for i, name := range names {
		if sub.wants(name) {
			continue
		}
		kept := slices.Clone(names[:i])
		for _, name := range names[i+1:] {
			if sub.wants(name) {
				kept = append(kept, name)
			}
		}
		return kept
	}
	return names
}

// has returns the version of a resource that the client has.
func (sub *subscription) has(name string) (version string, ok bool) {
	if !sub.answered {
		version, ok = sub.held[name]
		return version, ok
	}
	r := sub.seen.Get(name)
	return r.Version(), r != nil
}

// pending tells whether there is anything to look at.
func (sub *subscription) pending(d *store.Dirty) bool {
	return !sub.answered || len(sub.asked) > 0 || sub.askedAll || d != nil
}

// maxForgotten bounds the names that a client can make the server keep by
// unsubscribing them without ever acknowledging a response.
const maxForgotten = 10_000

// forget notes names that the client no longer wants, if they may be on their way to it.
func (sub *subscription) forget(names []string) {
	if !sub.settled() && len(sub.forgotten)+len(names) <= maxForgotten {
		sub.forgotten = merge(sub.forgotten, names)
	}
}

// settled tells whether the client has read everything that it was sent.
func (sub *subscription) settled() bool {
	return sub.outgoing == 0 && sub.ack.answered == sub.ack.sent
}

// waits tells whether the client is to answer something before it is told of what is leaving.
func (sub *subscription) waits() bool { return len(sub.leaving) > 0 && sub.ack.answered == 0 }

// difference is what a client has to be told of one type.
type difference struct {
	forced  bool              // something was asked for, found or not
	updates []*store.Resource // by name
	missing []string          // asked for and not there
	gone    []string          // the client has it and it is not there any more
}

// compare returns how what the client has differs from cur, and takes the client
// to be told. d is what may have changed since the last time, nil for nothing.
func (sub *subscription) compare(d *store.Dirty, cur *store.Table) difference {
	var diff difference
	forced, check := sub.candidates(d, cur)
	diff.forced = !sub.answered || len(forced) > 0 || sub.askedAll
	for _, name := range merge(forced, check) {
		_, force := slices.BinarySearch(forced, name)
		version, has := sub.has(name)
		switch r := cur.Get(name); {
		case r != nil && (force || !has || version != r.Version()):
			diff.updates = append(diff.updates, r)
		case r == nil && has:
			diff.gone = append(diff.gone, name)
		case r == nil && (force || !sub.answered):
			diff.missing = append(diff.missing, name)
		}
	}
	sub.answered, sub.seen, sub.held = true, cur, nil
	if sub.askedAll {
		sub.forgotten = nil
	}
	sub.asked, sub.askedAll = nil, false
	return diff
}

// candidates returns the names to answer in any case and those to compare: sorted,
// and none that the client no longer wants.
func (sub *subscription) candidates(d *store.Dirty, cur *store.Table) (forced, check []string) {
	forced = sub.asked
	if sub.askedAll {
		forced = merge(merge(forced, namesOf(cur)), sub.forgotten)
	}
	switch {
	case !sub.answered:
		check = sub.names
		if sub.wildcard {
			check = merge(check, namesOf(cur))
		}
		check = merge(check, sub.heldNames())
	case d == nil:
	case !d.All:
		check = sub.wanted(sorted(d.Names))
	case sub.wildcard:
		check = merge(namesOf(sub.seen), namesOf(cur))
	default:
		check = sub.names
	}
	return forced, check
}

// heldNames returns what the client said it has, as far as it still wants it.
func (sub *subscription) heldNames() []string {
	var names []string
	for name := range sub.held {
		if sub.wants(name) {
			names = append(names, name)
		}
	}
	return sorted(names)
}

// full returns all that the client wants and that there is.
func (sub *subscription) full(cur *store.Table) []*store.Resource {
	if sub.wildcard {
		return cur.All()
	}
	resources := make([]*store.Resource, 0, len(sub.names))
	for _, name := range sub.names {
		if r := cur.Get(name); r != nil {
			resources = append(resources, r)
		}
	}
	return resources
}

// answer is one response, before it is cut into pieces that fit a message.
type answer struct {
	sub       *subscription
	resources []*store.Resource
	removed   []string // delta
	version   string   // version_info, system_version_info
}

// answerDelta returns what a delta client has to be told now, nil for nothing. What
// is gone of other types than listeners is left for later, in leaving.
func (sub *subscription) answerDelta(d *store.Dirty, set *store.Set) (now *answer) {
	// A client that asked for all of nothing waits for an answer; one that says what
	// it has does not.
	greet := !sub.answered && sub.wildcard && len(sub.held) == 0
	diff := sub.compare(d, set.Table(sub.typeURL))
	// To ask for what is leaving does not make it leave sooner.
	removed, _ := split(sub.leaving, diff.missing)
	if sub.typeURL == policy.ListenerType {
		removed = merge(removed, diff.gone)
	} else {
		sub.leaving = merge(sub.leaving, diff.gone)
	}
	greet = greet || sub.waits() && sub.settled() // it has nothing to answer yet
	if greet || len(diff.updates) > 0 || len(removed) > 0 {
		now = &answer{sub: sub, resources: diff.updates, removed: removed, version: set.Version()}
	}
	return now
}

// farewell returns what tells a delta client of what is leaving, nil for nothing.
func (sub *subscription) farewell(set *store.Set) *answer {
	cur := set.Table(sub.typeURL)
	gone := slices.DeleteFunc(slices.Clone(sub.leaving), func(name string) bool {
		return !sub.wants(name) || cur.Get(name) != nil
	})
	sub.leaving = nil
	if len(gone) == 0 {
		return nil
	}
	return &answer{sub: sub, removed: gone, version: set.Version()}
}

// answerSotW returns what a state-of-the-world client has to be told now, and after
// everything else. Nil means nothing.
func (sub *subscription) answerSotW(d *store.Dirty, set *store.Set) (now, last *answer) {
	was, cur := sub.seen, set.Table(sub.typeURL)
	diff := sub.compare(d, cur)
	if !isRoot(sub.typeURL) {
		// The protocol has no way to say that a resource is gone: what refers to it changes.
		if len(diff.updates) > 0 {
			now = &answer{sub: sub, resources: diff.updates, version: store.VersionOf(diff.updates)}
		}
		return now, nil
	}
	if !diff.forced && len(diff.updates) == 0 && len(diff.gone) == 0 {
		return nil, nil
	}
	all := sub.full(cur)
	final := &answer{sub: sub, resources: all, version: store.VersionOf(all)}
	switch {
	case len(diff.gone) == 0 || sub.typeURL == policy.ListenerType:
		return final, nil
	case !diff.forced && len(diff.updates) == 0:
		return nil, final
	}
	// New and changed clusters are told beside those that are gone, which routes may
	// still use, and what is gone is left out once the routes were sent.
	both := slices.Clone(all)
	for _, name := range diff.gone {
		both = append(both, was.Get(name))
	}
	return &answer{sub: sub, resources: both, version: store.VersionOf(both)}, final
}

func namesOf(t *store.Table) []string {
	all := t.All()
	names := make([]string, len(all))
	for i, r := range all {
		names[i] = r.Name()
	}
	return names
}

// sorted sorts names in place and drops those that are in it twice.
func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// merge returns the sorted union of two sorted lists. It may return one of them.
func merge(a, b []string) []string {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	}
	return sorted(slices.Concat(a, b))
}

// split returns what is in one of two sorted lists and not in the other.
func split(was, is []string) (added, dropped []string) {
	for len(was) > 0 || len(is) > 0 {
		switch {
		case len(is) == 0 || len(was) > 0 && was[0] < is[0]:
			dropped, was = append(dropped, was[0]), was[1:]
		case len(was) == 0 || is[0] < was[0]:
			added, is = append(added, is[0]), is[1:]
		default:
			was, is = was[1:], is[1:]
		}
	}
	return added, dropped
}
