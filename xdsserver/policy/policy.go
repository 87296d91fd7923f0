package policy

import "google.golang.org/protobuf/proto"

// Policy is what people say about their mesh. Its zero value says nothing.
//
// A Policy that [Parse] or [Load] returned is valid. One that a program builds or
// changes is validated by [Policy.Compile]. It may be read from several
// goroutines at once while nobody changes it.
type Policy struct {
	// Services are what calls can be made to, by name. A service's name is the
	// name that clients dial: xds:///orders in gRPC, http://orders/ in HTTP.
	Services map[string]*Service `policy:"services"`

	// Routes say where the calls to a name go. The name is a service's, or any
	// other name that clients dial, such as shop.example:8080. Routes are tried
	// in order and the first that matches takes the call; a call that none
	// matches fails. A service without routes gets all calls to its name.
	// inbound/NAME has the routes of the server NAME, for filters to be overridden by.
	Routes map[string][]*Route `policy:"routes"`

	// Filters are the HTTP filters that the calls to a name pass, by the name as in
	// routes, in order; responses pass them in the reverse order. inbound/NAME has those
	// of the server NAME, which gets its policy by being listed here or in routes.
	Filters map[string][]*Filter `policy:"filters"`

	// UnknownHosts says what becomes of HTTP requests to hosts that are neither
	// services nor have routes: deny, which fails them, or passthrough, which sends
	// them where their URL says, by DNS. Not given, they fail; but clients that were
	// told passthrough keep to it until they are told to deny. gRPC calls to such
	// names fail in any case.
	UnknownHosts UnknownHosts `policy:"unknownHosts"`

	// Resources are xDS resources as they are, for what the rest does not say:
	// Listener, RouteConfiguration, Cluster, ClusterLoadAssignment, Secret or
	// TypedExtensionConfig, written as protobuf JSON with an "@type". Their names must differ from those
	// that services and routes make.
	Resources []proto.Message `policy:"resources"`

	positions positions // where each part was read, for errors
}
