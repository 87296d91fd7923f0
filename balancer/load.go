package balancer

import "slices"

// load is the part of the calls, in percent, that a priority takes with its healthy
// and with its degraded endpoints. In panic it is taken by all of its endpoints.
type load struct {
	healthy, degraded uint32
	panics            bool
}

// spread divides the calls among the priorities as Envoy does
// (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority,
// .../degraded and .../panic_threshold), in whole percents. They add up to 100.
//
// A priority's availability is the share of its endpoints that are available times
// the overprovisioning factor, at most 100; draining ones do not count. Calls go to the first priorities
// whose availabilities add up to 100, to healthy endpoints before degraded ones. If
// all priorities together have less, the availabilities are scaled up, and a
// priority of which fewer endpoints are available than the threshold panics. If all
// of them panic, calls are divided by the number of endpoints.
func spread(tallies []tally, overprovisioning uint64, panicThreshold float64) []load {
	loads := make([]load, len(tallies))
	if len(tallies) == 0 {
		return loads
	}
	healthy, degraded := make([]uint64, len(tallies)), make([]uint64, len(tallies))
	var total uint64
	for i, t := range tallies {
		healthy[i], degraded[i] = t.availability(overprovisioning)
		total += healthy[i] + degraded[i]
	}
	total = min(100, total)
	if total > 0 {
		share(loads, healthy, degraded, total)
	} else {
		shareOfNothing(loads, tallies)
	}
	if total == 100 || panicThreshold <= 0 {
		return loads
	}

	all := true
	for i, t := range tallies {
		available := float64(t.availableHealthy + t.availableDegraded)
		loads[i].panics = t.total == 0 || 100*available/float64(t.total) < panicThreshold
		all = all && loads[i].panics
	}
	if all {
		shareByNumber(loads, tallies)
	}
	return loads
}

// availability is what all priorities together have available, in percent, at most 100.
func availability(tallies []tally, overprovisioning uint64) (healthy, degraded uint64) {
	for _, t := range tallies {
		h, d := t.availability(overprovisioning)
		healthy += h
		degraded += d
	}
	return min(100, healthy), min(100, degraded)
}

// availability is what the endpoints counted have available, in percent, each at most 100.
func (t *tally) availability(overprovisioning uint64) (healthy, degraded uint64) {
	if t.total == 0 {
		return 0, 0
	}
	return min(100, overprovisioning*uint64(t.availableHealthy)/uint64(t.total)),
		min(100, overprovisioning*uint64(t.availableDegraded)/uint64(t.total))
}

// share hands out 100 percent in order, in proportion to availability. What rounding
// leaves goes to the first that takes any.
func share(loads []load, healthy, degraded []uint64, total uint64) {
	left := uint64(100)
	for i := range loads {
		part := min(left, healthy[i]*100/total)
		loads[i].healthy = uint32(part)
		left -= part
	}
	for i := range loads {
		part := min(left, degraded[i]*100/total)
		loads[i].degraded = uint32(part)
		left -= part
	}
	for i := range loads {
		if healthy[i] > 0 {
			loads[i].healthy += uint32(left)
			return
		}
	}
	for i := range loads {
		if degraded[i] > 0 {
			loads[i].degraded += uint32(left)
			return
		}
	}
}

// shareByNumber hands out 100 percent in proportion to the number of endpoints.
func shareByNumber(loads []load, tallies []tally) {
	var total uint64
	for _, t := range tallies {
		total += uint64(t.total + t.draining)
	}
	if total == 0 {
		loads[0].healthy = 100
		return
	}
	left := uint32(100)
	first := -1
	for i, t := range tallies {
		if first < 0 && t.total+t.draining > 0 {
			first = i
		}
		part := uint32(100 * uint64(t.total+t.draining) / total)
		loads[i].healthy, loads[i].degraded = part, 0
		left -= part
	}
	loads[first].healthy += left
}

// shareOfNothing is for when no priority has a whole percent available: the first
// that has an endpoint at all takes everything.
func shareOfNothing(loads []load, tallies []tally) {
	if i := slices.IndexFunc(tallies, func(t tally) bool { return t.availableHealthy > 0 }); i >= 0 {
		loads[i].healthy = 100
	} else if i := slices.IndexFunc(tallies, func(t tally) bool { return t.availableDegraded > 0 }); i >= 0 {
		loads[i].degraded = 100
	} else {
		loads[0].healthy = 100
	}
}
