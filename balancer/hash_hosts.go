package balancer

import (
	"cmp"
	"slices"
	"sync"
)

// hashKeyLabel is the metadata under envoy.lb that says what to hash of an endpoint,
// in place of its address (gRFC A76, as in Envoy).
const hashKeyLabel = "hash_key"

// hashTables are the tables over a snapshot's members. They do not depend on the
// connections, so that its views share them, and a connection that fails moves no key
// but those of its endpoint.
type hashTables struct {
	mu     sync.Mutex
	tables map[hashTableKey]*hashTable
}

type hashTableKey struct {
	from     int // the priority's first member
	of       classes
	weighted bool
}

// hashTable returns the table over a group, nil if nothing of it can be chosen.
func (r *round) hashTable(g *group) *hashTable {
	cache := r.built.hashTables
	key := hashTableKey{g.priority.from, g.of, r.weighted(g.priority)}
	cache.mu.Lock()
	defer cache.mu.Unlock()
	t, ok := cache.tables[key]
	if ok {
		return t
	}
	if hosts := r.hashHosts(g); len(hosts) > 0 {
		p := r.built.config.Policy
		if p.Kind == Maglev {
			t = newMaglev(hosts, cmp.Or(p.TableSize, DefaultMaglevTableSize))
		} else {
			t = newRing(hosts, cmp.Or(p.MinRingSize, min(DefaultMinRingSize, p.largestRing())), p.largestRing())
		}
		t.bound = newBound(p, hosts, len(r.built.members))
	}
	if cache.tables == nil {
		cache.tables = map[hashTableKey]*hashTable{}
	}
	cache.tables[key] = t
	return t
}

func (p Policy) largestRing() uint64 { return cmp.Or(p.MaxRingSize, MaxRingSize) }

// hashHosts lists the members of a group, those of all localities together, with their
// shares: the endpoint's part of its locality, times the locality's part of the
// priority where localities are weighted (Envoy's thread_aware_lb_impl.cc).
func (r *round) hashHosts(g *group) []hashHost {
	if !r.weighted(g.priority) {
		return r.appendHashHosts(nil, g, g.priority.from, g.priority.to, 1)
	}
	// Envoy has weighted localities in the order of their names.
	localities := slices.Clone(g.priority.localities)
	slices.SortStableFunc(localities, func(a, b locality) int {
		x, y := r.built.members[a.from].endpoint.Locality(), r.built.members[b.from].endpoint.Locality()
		return cmp.Or(cmp.Compare(x.Region, y.Region), cmp.Compare(x.Zone, y.Zone), cmp.Compare(x.SubZone, y.SubZone))
	})
	var total uint64
	for _, l := range localities {
		total += uint64(l.weight)
	}
	var hosts []hashHost
	for _, l := range localities {
		if l.weight > 0 {
			hosts = r.appendHashHosts(hosts, g, l.from, l.to, float64(l.weight)/float64(total))
		}
	}
	return hosts
}

// appendHashHosts appends the members of a run, which have this share together.
func (r *round) appendHashHosts(hosts []hashHost, g *group, from, to int, share float64) []hashHost {
	first := len(hosts)
	var total uint64
	for k := from; k < to; k++ {
		if m := &r.built.members[k]; r.built.classes[k]&g.of != 0 {
			total += uint64(m.weight)
			hosts = append(hosts, hashHost{r.hashKey(m.endpoint), uint32(k), float64(m.weight)})
		}
	}
	for i := first; i < len(hosts); i++ {
		hosts[i].weight = hosts[i].weight * share / float64(total)
	}
	return hosts
}

// hashKey is what of an endpoint is hashed.
func (r *round) hashKey(e *Endpoint) string {
	f := e.facts.Load()
	if v, ok := f.labels[hashKeyLabel]; ok { // the text of nothing is made anew each time
		if key, _ := v.Text(); key != "" {
			return key
		}
	}
	if r.built.config.Policy.HashHostname && f.hostname != "" {
		return f.hostname
	}
	return f.address
}
