// Package filter is how calls are looked at, changed, held up and answered on their
// way, out of clients and into servers: one mechanism for gRPC and HTTP, for the filters that come with Weft and for
// those of a program.
//
// Three types matter to a reader. A [Kind] reads the configurations of a type and
// makes filters of them. A [Filter] sees the calls of a route, and may have a
// [Follower] follow one to its end. A program brings a kind of its own along with
// mesh.WithFilter; [Of] makes one of a configuration and a function:
//
//	type config struct{ Team string }
//
//	var team = filter.NewHeaderName("x-team")
//
//	kind := filter.Of("example.com/Team", func(c config) (filter.Filter, error) {
//		return filter.Func(func(_ context.Context, r *filter.Request) error {
//			r.Header.Set(team, c.Team)
//			return nil
//		}), nil
//	})
//
// # How a configuration comes to a call
//
//	listener's http_filters ──Kind.Parse──┐ once per resource
//	typed_per_filter_config ──Kind.Parse──┴──Kind.New──> Filter, once per route ──Request──> calls
//
// Policy names a kind by the type of the configuration (gRFC A39), which is a
// protobuf message, or a TypedStruct with the type in it for configurations that
// have none. What Parse refuses is refused as part of the resource, and the control
// plane is told which field. A route's overrides come from four levels: route
// configuration, virtual host, route and weighted cluster. Nothing is read or merged
// per call, and a route without filters has no cost.
//
// # How a call passes
//
// Requests pass the filters in the order of the listener, responses in the reverse
// order, once per call however often it is tried. A filter ends a call by
// returning an error: a [Reply] is the answer that the caller gets, under HTTP a
// response and under gRPC a status. A [PacedFollower] slows the response down,
// and a [BodyFilter] reads and replaces bodies. Calls that
// the filters leave alone cost no allocation.
//
// # What a caller gets when a filter refuses
//
// A filter that refuses a call has answered it, as by a local reply of Envoy's: a rate
// limit, a fault, adaptive concurrency, admission control, and any other that returns a
// [Reply]. An HTTP client gets a response and no error, as it would from a proxy; [ReplyIn]
// tells it from a server's, and errors.Is of that says why (mesh.ErrOverloaded,
// resilience.ErrFault). A gRPC client gets a status, of which errors.Is says the same. No
// attempt is made, and none follows. What refuses a call behind the filters, the limits and
// breakers of its cluster, is an error at once to both: mesh.ErrOverloaded.
//
// On servers it is the same, for the calls that come in: Request.Server tells the sides
// apart. Callers of a server get replies and statuses as they are; of an error that is
// neither, they get to know that the call is refused.
package filter
