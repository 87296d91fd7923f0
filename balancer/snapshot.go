package balancer

import "slices"

// maxPriority is the greatest priority that envoy.config.endpoint.v3.LocalityLbEndpoints allows.
const maxPriority = 127

// snapshot is everything a cluster knows at one moment, in the form that views work
// on. It is immutable.
type snapshot struct {
	config *Config
	// err is why there are no members: ErrConnecting while they are awaited.
	err error

	// members lists the endpoints by priority and, within it, by locality. The same
	// endpoint is never in it twice.
	members    []member
	classes    []classes // of the members, when the snapshot was made
	localities []locality
	priorities []priority

	overprovisioning uint64 // percent
	drops            *dropper
	hashTables       *hashTables
	addresses        *addressIndex
	subsets          *subsetParts // nil if the endpoints are not divided

	// clusters are what an aggregate is made of; nil for other clusters.
	clusters []*Cluster

	// logical stands in for this snapshot where a LOGICAL_DNS cluster is one
	// endpoint. Nil for other clusters.
	logical *snapshot
}

// member is an endpoint with what the snapshot says of it.
type member struct {
	endpoint *Endpoint
	weight   uint32 // at least 1
	health   Health
}

// locality is a run of members.
type locality struct {
	from, to int // in members
	weight   uint32
}

// priority is a run of localities, and so of members.
type priority struct {
	level      uint32 // as the source counts
	from, to   int    // in members
	first      int    // in snapshot.localities
	localities []locality
	weighted   bool // a locality has weight
}

// newSnapshot makes the endpoints of the assignment those of the cluster, reusing
// what it has. It returns how many entries of the assignment had to be left out:
// duplicates of an address, of which the most preferred counts, and priorities out
// of range. The caller holds c.mu.
func (c *Cluster) newSnapshot(config *Config, a *Assignment) (s *snapshot, duplicates, outOfRange int) {
	c.generation++
	s = &snapshot{config: config, overprovisioning: 140, drops: newDropper(c.name, a.Drops), hashTables: new(hashTables), addresses: new(addressIndex), subsets: newSubsetParts(config.Subsets)}
	if a.Overprovisioning > 0 {
		s.overprovisioning = uint64(a.Overprovisioning)
	}

	order := make([]*LocalityEndpoints, 0, len(a.Localities))
	size := 0
	for i := range a.Localities {
		l := &a.Localities[i]
		if l.Priority > maxPriority {
			outOfRange++
			continue
		}
		order = append(order, l)
		size += len(l.Endpoints)
	}
	slices.SortStableFunc(order, func(a, b *LocalityEndpoints) int { return int(a.Priority) - int(b.Priority) })

	before := priorMembers{c.snapshot.members}
	s.members = make([]member, 0, size)
	s.localities = make([]locality, 0, len(order))
	for _, l := range order {
		from := len(s.members)
		for j := range l.Endpoints {
			e := &l.Endpoints[j]
			endpoint, fresh := c.endpoint(config, l, e, &before)
			if !fresh {
				duplicates++
				continue
			}
			s.members = append(s.members, member{endpoint, max(1, e.Weight), e.Health})
		}
		if len(s.members) > from {
			s.add(locality{from, len(s.members), l.Weight}, l.Priority)
		}
	}
	s.classes = classesOf(s.members)
	return s, duplicates, outOfRange
}

// add appends a locality, which begins a priority if it is the first of its level.
func (s *snapshot) add(l locality, level uint32) {
	if n := len(s.priorities); n == 0 || s.priorities[n-1].level != level {
		s.priorities = append(s.priorities, priority{level: level, from: l.from, first: len(s.localities)})
	}
	s.localities = append(s.localities, l)
	p := &s.priorities[len(s.priorities)-1]
	p.to = l.to
	p.localities = s.localities[p.first:]
	p.weighted = p.weighted || l.weight > 0
}
