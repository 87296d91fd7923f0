package policy

import "time"

// Hash is one thing of a call that is hashed for the policies ring_hash and maglev:
// exactly one of header, cookie, query and channel is given
// (envoy.config.route.v3.RouteAction.HashPolicy). Calls in which the same is hashed go
// to the same endpoint.
type Hash struct {
	// Header is the name of a header, in gRPC of metadata, whose value is hashed.
	Header string `policy:"header"`
	// Cookie is a cookie whose value is hashed. gRPC calls have none (gRFC A42).
	Cookie *HashCookie `policy:"cookie"`
	// Query is the name of a parameter of the URL's query. gRPC calls have none.
	Query string `policy:"query"`
	// Channel, when true, hashes the client itself: all calls of one gRPC channel, or
	// of one HTTP transport, go to the same endpoint. Envoy leaves it out.
	Channel bool `policy:"channel"`
	// Terminal leaves out the entries after this one, for calls that have what this
	// one hashes.
	Terminal bool `policy:"terminal"`
}

// HashCookie is a cookie that is hashed. The plain string "session" is {name: session}.
type HashCookie struct {
	// Name is the cookie's name.
	Name string `policy:"name,required"`
	// TTL, if given, has a client that does not send the cookie get one that lasts so
	// long, in whole seconds; 0s for as long as the client runs.
	TTL *time.Duration `policy:"ttl"`
	// Path is the path of a cookie that is generated. Only with ttl.
	Path string `policy:"path"`
}

func (c *HashCookie) fromText(s string) { c.Name = s }
