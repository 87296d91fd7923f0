package policy

import "time"

// Session keeps the calls of a session at one endpoint: the response to its first call
// brings a cookie or a header, which the later ones are to send back
// (envoy.extensions.filters.http.stateful_session.v3.StatefulSession; gRFC A55). Exactly
// one of cookie, header and disabled is given. When the endpoint is gone or unhealthy, the
// session moves to another. Clients that know no sessions read over it.
type Session struct {
	// Cookie is the cookie that says where the session is.
	Cookie *SessionCookie `policy:"cookie"`
	// Header is the name of a header that says so, in requests and responses.
	Header string `policy:"header"`
	// Strict fails the calls of a session whose endpoint is gone or unhealthy.
	Strict bool `policy:"strict"`
	// KeepDraining lets sessions stay at endpoints that are draining. Only for services:
	// it holds for whatever comes to their endpoints.
	KeepDraining bool `policy:"keepDraining"`
	// Disabled, of a route, has no sessions for its calls though the service has.
	Disabled bool `policy:"disabled"`
}

// SessionCookie is a cookie of sessions. The plain string "sticky" is {name: sticky}.
type SessionCookie struct {
	// Name is the cookie's name.
	Name string `policy:"name,required"`
	// Path is where the session is: calls to other paths have no part in it. Not given,
	// all calls do.
	Path string `policy:"path"`
	// TTL is how long the cookie lasts, in whole seconds. Not given or 0s means as long
	// as the client runs.
	TTL *time.Duration `policy:"ttl"`
}

func (c *SessionCookie) fromText(s string) { c.Name = s }
