package policy

func (v *validator) zoneAware(p path, s *Service) {
	b := s.Balance
	switch {
	case b.Policy != "" && b.Policy != RoundRobin && b.Policy != LeastRequest && b.Policy != Random:
		v.nameErrorf(p, `"zoneAware" is for the policies round_robin, least_request and random only`)
	case b.LocalityWeights != nil:
		v.nameErrorf(p, `"zoneAware" cannot stand beside "localityWeights": either zones have weights or calls stay in theirs`)
	case s.Discover != nil:
		v.nameErrorf(p, "endpoints that DNS finds have no zones to stay in")
	}
	if f := b.ZoneAware.RoutingEnabled; f != nil && *f > 1_000_000 {
		v.errorf(p.field("routingEnabled"), "the fraction %s is more than 100%%", *f)
	}
	if force := b.ZoneAware.ForceLocalZone; force != nil && force.MinSize != nil && *force.MinSize == 0 {
		v.errorf(p.field("forceLocalZone").field("minSize"), "minSize is 0: at least 1")
	}
}
