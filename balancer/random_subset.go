package balancer

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// RandomSubset has each View use but a part of the endpoints, another one each
// (gRFC A68; envoy RandomSubsetting): those whose address has the lowest hashes
// under a seed of the view's own, so that one endpoint that comes or goes changes at most
// one of the part.
type RandomSubset struct {
	// Size is how many endpoints of a priority are used. Zero means all. Endpoints that
	// their source calls unhealthy or draining do not count, and are in the part only in
	// so far as their hash is among these.
	Size int
	// PerLocality makes it so many of each locality.
	PerLocality bool
}

// randomSubset returns the snapshot of the view's part of s.
func (v *View) randomSubset(s *snapshot) *snapshot {
	subset := s.config.Policy.RandomSubset
	if subset.Size <= 0 || s.err != nil {
		return s
	}
	switch {
	case v.subsetOf == s:
		return v.subset
	case v.subsetOf.sameMembers(s):
		v.subsetOf, v.subset = s, v.subset.reassessed()
		return v.subset
	}
	used := make([]bool, len(s.members))
	var digest xxhash.Digest
	choose := func(from, to int) {
		type hashed struct {
			hash uint64
			k    int
		}
		order := make([]hashed, 0, to-from)
		for k := from; k < to; k++ {
			digest.ResetWithSeed(v.seed)
			_, _ = digest.WriteString(s.members[k].endpoint.Address())
			order = append(order, hashed{digest.Sum64(), k})
		}
		slices.SortFunc(order, func(a, b hashed) int { return cmp.Compare(a.hash, b.hash) })
		left := subset.Size
		for _, h := range order {
			if left == 0 {
				break
			}
			used[h.k] = true
			if s.members[h.k].health.class()&(classHealthy|classDegraded) != 0 {
				left--
			}
		}
	}
	for i := range s.priorities {
		p := &s.priorities[i]
		if !subset.PerLocality {
			choose(p.from, p.to)
			continue
		}
		for _, l := range p.localities {
			choose(l.from, l.to)
		}
	}
	v.subsetOf, v.subset = s, s.only(used)
	return v.subset
}

// only returns a snapshot of some of the members.
func (s *snapshot) only(used []bool) *snapshot {
	part := *s
	part.hashTables, part.addresses, part.subsets = new(hashTables), new(addressIndex), newSubsetParts(s.config.Subsets)
	part.members = make([]member, 0, len(s.members))
	part.localities = make([]locality, 0, len(s.localities)) // add keeps parts of it
	part.priorities = nil
	for i := range s.priorities {
		for _, l := range s.priorities[i].localities {
			from := len(part.members)
			for k := l.from; k < l.to; k++ {
				if used[k] {
					part.members = append(part.members, s.members[k])
				}
			}
			if len(part.members) > from {
				part.add(locality{from, len(part.members), l.weight}, s.priorities[i].level)
			}
		}
	}
	part.classes = classesOf(part.members)
	return &part
}
