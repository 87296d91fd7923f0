package policy

import "google.golang.org/protobuf/types/known/anypb"

// Filter is an HTTP filter, which looks at calls, changes them or answers them
// (envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter). Exactly one of
// config, adaptiveConcurrency, admissionControl and loadShed is given.
type Filter struct {
	// Name is what routes override the filter by. No two filters of a list have one.
	Name string `policy:"name,required"`

	// Config is the filter's configuration, as protobuf JSON with an "@type", which
	// says which filter it is: one that clients have, or one that a program brings
	// along. A type that xdsserver does not know is sent as a TypedStruct.
	Config *anypb.Any `policy:"config"`

	// AdaptiveConcurrency bounds the calls in flight by how long they take. Clients that
	// do not know it leave it out.
	AdaptiveConcurrency *AdaptiveConcurrency `policy:"adaptiveConcurrency"`

	// AdmissionControl refuses a share of the calls while many fail. Clients that do not
	// know it leave it out.
	AdmissionControl *AdmissionControl `policy:"admissionControl"`

	// LoadShed bounds the calls that a server has in flight.
	LoadShed *LoadShed `policy:"loadShed"`

	// Disabled leaves the filter out, except for the routes that override it.
	Disabled bool `policy:"disabled"`

	// Optional has clients leave the filter out that do not know it. Others refuse
	// the whole list.
	Optional bool `policy:"optional"`
}

// FilterOverride is what a route says of a filter: exactly one of config, share and
// disabled is given (typed_per_filter_config of envoy.config.route.v3.Route).
type FilterOverride struct {
	// Config takes the place of the filter's configuration, for most filters; some
	// have a type of their own for overrides. It is written as the filter's is.
	Config *anypb.Any `policy:"config"`

	// Share takes the place of the share of a loadShed filter, above 0%: calls of the
	// route are let in only while less than that share of its maxRequests is in flight.
	Share *Fraction `policy:"share"`

	// Disabled leaves the filter out.
	Disabled bool `policy:"disabled"`
}
