package resilience

// Usage is how much of a resource a cluster's calls have, for people to look at.
type Usage struct {
	Resource Resource
	Priority Priority
	InFlight int64
	// Max is the threshold now; that of retries may go by what else is in flight.
	Max uint32
}

// Remaining is what there may be more of it (Envoy's track_remaining); at least 0.
func (u Usage) Remaining() uint32 {
	return uint32(max(0, int64(u.Max)-max(0, u.InFlight)))
}

// Usage lists all resources at both priorities. They are read one after the other.
func (l *Limits) Usage() []Usage {
	var list []Usage
	for p := range Priority(2) {
		for r := range resources {
			list = append(list, Usage{Resource: r, Priority: p, InFlight: l.InFlight(r, p), Max: l.Max(r, p)})
		}
	}
	return list
}
