package policy

// ZoneAware keeps calls in the zone of their caller as far as that is fair to the
// endpoints there, and sends the rest to zones with room
// (envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig). Callers must know
// where they are, by the locality of their bootstrap's node or mesh.WithLocality.
type ZoneAware struct {
	// RoutingEnabled is the part of the calls that this is for, such as 50%. Not given
	// means 100%.
	RoutingEnabled *Fraction `policy:"routingEnabled"`
	// MinClusterSize is how many healthy endpoints there must be. Not given means 6.
	MinClusterSize *uint32 `policy:"minClusterSize"`
	// FailTrafficOnPanic lets calls fail when less than half of the endpoints are
	// healthy, instead of sending them to any.
	FailTrafficOnPanic bool `policy:"failTrafficOnPanic"`
	// ForceLocalZone has all calls stay in their caller's zone while it has healthy
	// endpoints, fair or not.
	ForceLocalZone *ForceLocalZone `policy:"forceLocalZone"`
}

// ForceLocalZone says when all calls stay in their zone.
type ForceLocalZone struct {
	// MinSize is how many healthy endpoints the zone must have. Not given means 1.
	MinSize *uint32 `policy:"minSize"`
}
