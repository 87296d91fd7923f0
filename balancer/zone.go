package balancer

// ZoneAware has calls stay in the process's own locality as far as that is fair to the
// endpoints there, and divides the rest by the room that other localities have
// (envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig, and
// envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig).
//
// What is fair follows from where the process's peers are ([Local.Follow]): a locality
// with a third of the callers and a quarter of the healthy endpoints keeps three
// quarters of its calls. While nothing is known of them, callers are taken to be spread
// evenly over the localities of the endpoints; Envoy would not be zone-aware then.
//
// It is for the healthy endpoints of priority 0 under policies that do not hash, and
// has no effect where localities are weighted.
type ZoneAware struct {
	// Routing is the percentage (0..100) of calls to which this applies.
	Routing float64
	// MinClusterSize is how many healthy endpoints there must be.
	MinClusterSize uint64
	// FailOnPanic lets a priority that is in panic get no calls, instead of using all of
	// its endpoints. Calls fail if no other has an endpoint.
	FailOnPanic bool
	// ForceLocalSize, unless 0, has all calls stay in the own locality while it has so
	// many healthy endpoints, fair or not.
	ForceLocalSize uint32
	// ByWeight goes by the weights of endpoints and peers in place of their numbers.
	ByWeight bool
}

// DefaultZoneAware is what Envoy does where policy says nothing and the process knows
// its peers.
var DefaultZoneAware = ZoneAware{Routing: 100, MinClusterSize: 6}

// zoneAware returns how the round's calls heed zones, nil if they do not.
func (r *round) zoneAware() *ZoneAware {
	local, config := r.cluster.local, r.built.config
	switch {
	case local == nil || local.locality == Locality{} || config.LocalityWeighted || config.Policy.Kind == PickFirst:
		return nil
	case config.ZoneAware != nil:
		return config.ZoneAware
	case local.known() != nil:
		return &DefaultZoneAware
	}
	return nil
}

// failsOnPanic reports whether a priority in panic gets no calls.
func (r *round) failsOnPanic() bool {
	config := r.built.config
	return config.ZoneAware != nil && config.ZoneAware.FailOnPanic && !config.LocalityWeighted && !config.Policy.Kind.hashes()
}

// zoned chooses among the localities of a group as zones have it; nil if they have no
// say.
func (r *round) zoned(g *group, usable func(*Link) bool) chooser {
	if g.of != classHealthy || g.priority.level != 0 {
		return nil
	}
	z := r.zoneAware()
	if z == nil || r.weighted(g.priority) {
		return nil
	}
	shares := r.zoneShares(z, g.priority)
	if shares == nil {
		return nil
	}
	var choosers []chooser
	var weights []uint64
	policy := r.policy()
	for i, share := range shares {
		if share == 0 {
			continue
		}
		if links := r.collect(g, &g.priority.localities[i], usable); len(links) > 0 {
			choosers = append(choosers, newChooser(&policy, links, r.weigh(&policy, links)))
			weights = append(weights, share)
		}
	}
	if len(choosers) == 0 {
		return nil
	}
	zones := newSplit(choosers, fit(weights))
	if z.Routing >= 100 {
		return zones
	}
	all := locality{from: g.priority.from, to: g.priority.to}
	links := r.collect(g, &all, usable)
	const scale = 1 << 20 // of a percent
	routed := uint32(z.Routing * scale)
	if routed == 0 {
		return nil
	}
	return newSplit([]chooser{zones, newChooser(&policy, links, r.weigh(&policy, links))}, []uint32{routed, 100*scale - routed})
}

// zoneShares returns the shares of a priority's localities, nil if zones have no say
// (load_balancer_impl.cc, ZoneAwareLoadBalancerBase). Where Envoy draws lots among
// localities, each has its turn here.
func (r *round) zoneShares(z *ZoneAware, p *priority) []uint64 {
	upstream, home := r.zones(z, p)
	var healthy, total uint64
	for _, u := range upstream {
		healthy += u.healthy
		total += u.size
	}
	if len(upstream) < 2 || healthy < z.MinClusterSize || total == 0 {
		return nil
	}
	callers := r.callers(z, p)
	if callers == nil {
		return nil
	}
	percent := make([]uint64, len(upstream)) // in hundredths, like callers
	for i, u := range upstream {
		percent[i] = 10_000 * u.size / total
	}

	shares := make([]uint64, len(upstream))
	if home >= 0 {
		forced := z.ForceLocalSize > 0 && upstream[home].healthy >= uint64(z.ForceLocalSize)
		if forced || percent[home] > 0 && percent[home] >= callers[home] {
			shares[home] = 1
			return shares
		}
	}
	var stay uint64 // hundredths of a percent that stay
	if home >= 0 && callers[home] > 0 {
		stay = min(10_000, percent[home]*10_000/callers[home])
	}
	var room, rooms = make([]uint64, len(upstream)), uint64(0)
	for i := range upstream {
		if i != home && percent[i] > callers[i] {
			room[i] = percent[i] - callers[i]
			rooms += room[i]
		}
	}
	if rooms == 0 { // rounding has left none: anywhere
		for i := range room {
			room[i] = 1
		}
		rooms = uint64(len(room))
	}
	for i := range shares {
		shares[i] = (10_000 - stay) * room[i]
	}
	if home >= 0 {
		shares[home] += stay * rooms
	}
	return shares
}

// zone is what a locality has of endpoints that are healthy and may be reached.
type zone struct{ healthy, size uint64 }

// zones counts the localities of a priority, and finds the process's own, -1 if there
// is none.
func (r *round) zones(z *ZoneAware, p *priority) (list []zone, home int) {
	list, home = make([]zone, len(p.localities)), -1
	for i, l := range p.localities {
		if r.built.members[l.from].endpoint.Locality() == r.cluster.local.locality {
			home = i
		}
		list[i].healthy = uint64(r.localities[p.first+i].availableHealthy)
		list[i].size = list[i].healthy
		if z.ByWeight {
			list[i].size = r.healthyWeight(l)
		}
	}
	return list, home
}

func (r *round) healthyWeight(l locality) (sum uint64) {
	for k := l.from; k < l.to; k++ {
		if link := r.links[k]; r.built.classes[k] == classHealthy && (link == nil || State(link.state.Load()) != TransientFailure) {
			sum += uint64(r.built.members[k].weight)
		}
	}
	return sum
}

// callers returns which part of the process's peers, in hundredths of a percent, is in
// each locality of a priority; nil if zones have no say, because the peers are all in
// one place, are in panic, or are said to be elsewhere than the process.
func (r *round) callers(z *ZoneAware, p *priority) []uint64 {
	local := r.cluster.local
	list := make([]uint64, len(p.localities))
	peers := local.known()
	if peers == nil {
		for i := range list {
			list[i] = 10_000 / uint64(len(list))
		}
		return list
	}
	if len(peers.localities) < 2 && z.ForceLocalSize == 0 || peers.localities[local.locality].total == 0 ||
		100*float64(peers.healthy)/float64(peers.total) < r.built.config.PanicThreshold {
		return nil
	}
	for i, l := range p.localities {
		at := peers.localities[r.built.members[l.from].endpoint.Locality()]
		switch {
		case z.ByWeight && peers.weight > 0:
			list[i] = 10_000 * at.weight / peers.weight
		case !z.ByWeight && peers.healthy > 0:
			list[i] = 10_000 * uint64(at.healthy) / uint64(peers.healthy)
		}
	}
	return list
}
