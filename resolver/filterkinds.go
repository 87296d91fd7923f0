package resolver

import "github.com/weft-mesh/weft/filter"

// FilterKinds returns the kinds of HTTP filters that come with Weft, for the registry
// of a mesh. Each call makes them anew: meshes share nothing.
func FilterKinds() []filter.Kind {
	return []filter.Kind{headerMutationKind{}, compositeKind{}, statefulSessionKind{},
		adaptiveConcurrencyKind{}, admissionControlKind{}, loadShedKind{},
		localLimitKind{}, serviceLimitKind{&endReports{}},
		faultKind{}}
}

// filterDecoder is the decoder of a filter's configuration.
func filterDecoder(c *filter.Config) *path {
	return (&decoder{kind: c.TypeURL, warned: c.Warn}).root()
}
