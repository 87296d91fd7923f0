package policy

import "google.golang.org/protobuf/types/known/anypb"

// Filter is an HTTP filter, which looks at calls, changes them or answers them
// (envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter).
type Filter struct {
	// Name is what routes override the filter by. No two filters of a list have one.
	Name string `policy:"name,required"`

	// Config is the filter's configuration, as protobuf JSON with an "@type", which
	// says which filter it is: one that clients have, or one that a program brings
	// along. A type that xdsserver does not know is sent as a TypedStruct.
	Config *anypb.Any `policy:"config,required"`

	// Disabled leaves the filter out, except for the routes that override it.
	Disabled bool `policy:"disabled"`

	// Optional has clients leave the filter out that do not know it. Others refuse
	// the whole list.
	Optional bool `policy:"optional"`
}

// FilterOverride is what a route says of a filter: exactly one of config and disabled
// is given (typed_per_filter_config of envoy.config.route.v3.Route).
type FilterOverride struct {
	// Config takes the place of the filter's configuration, for most filters; some
	// have a type of their own for overrides. It is written as the filter's is.
	Config *anypb.Any `policy:"config"`

	// Disabled leaves the filter out.
	Disabled bool `policy:"disabled"`
}
