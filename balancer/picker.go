package balancer

import (
	"math/rand/v2"
	"slices"

	"github.com/weft-mesh/weft/internal/weighted"
)

// picker answers picks for one state of a view. It is immutable.
type picker struct {
	snapshot *snapshot
	links    []*Link // of the snapshot's members; nil where there is none
	groups   []group // in the order in which one stands in for another
	drops    *dropper

	plain     bool        // there is a root, or hash is one table, and nothing to heed but breakers
	simple    bool        // and it is a root, calls can ask for nothing, no latency is measured, and endpoints are where they say
	root      chooser     // nil when there is nothing to pick
	inTurn    *inTurn     // root if it is one
	hash      *hashed     // takes root's place under the policies that hash
	overrides []HeaderKey // of the snapshot's configuration
	// aggregate takes the place of all this where the cluster is made of others.
	aggregate *aggregatePicker
	// parts take root's and hash's place where the cluster is divided into subsets: the
	// pickers of those that calls have asked for, by Criteria.key. Never nil there.
	parts map[string]*partPicker
	// spares choose within the groups, for attempts that leave priorities; nil while none
	// asks for that.
	spares []chooser

	state State
	err   error // why there is nothing to pick

	// What the cluster has available, in percent, for aggregates that it is part of.
	healthy, degraded uint64

	// anything allows links in TransientFailure once no other is left.
	anything bool
}

// group is the endpoints of some classes in one priority.
type group struct {
	priority *priority
	of       classes
	load     uint32 // percent
	refuses  bool   // its calls go elsewhere or fail

	available uint64 // what the priority has of them, in percent
}

// split chooses among choosers by weight: among priorities, or among localities.
type split struct {
	choosers []chooser
	schedule *weighted.Schedule
}

func newSplit(choosers []chooser, weights []uint32) chooser {
	switch len(choosers) {
	case 0:
		return nil
	case 1:
		return choosers[0]
	}
	return &split{choosers, weighted.New(weights)}
}

func (s *split) choose() *Link { return s.choosers[s.schedule.Next()].choose() }

// elsewhere looks for a link when what the policy chose could not be had: the first
// group in which there is one.
func (p *picker) elsewhere(v *View, exclude []*Endpoint) *Link {
	for _, failed := range [2]bool{false, true} {
		if failed && !p.anything {
			break
		}
		for i := range p.groups {
			g := &p.groups[i]
			if g.refuses {
				continue
			}
			if l := p.within(g, func(l *Link) bool {
				return (failed && l.endpoint.admits() || v.usable(l)) && !slices.Contains(exclude, l.endpoint)
			}); l != nil {
				return l
			}
		}
	}
	return nil
}

// within returns a link of a group, any that will do.
func (p *picker) within(g *group, does func(*Link) bool) *Link {
	n := g.priority.to - g.priority.from
	start := rand.IntN(n)
	for k := range n {
		at := g.priority.from + (start+k)%n
		if l := p.links[at]; l != nil && p.snapshot.classes[at]&g.of != 0 && does(l) {
			return l
		}
	}
	return nil
}
