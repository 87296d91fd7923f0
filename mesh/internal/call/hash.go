package call

import "github.com/weft-mesh/weft/resolver"

// HasHash reports whether the call's route says what to hash of it.
func (c *Call) HasHash() bool { return c.route.HasHash() }

// Sends hashes the request as it is sent, as Envoy does. It must come before Pick where
// that is not as the application asked.
func (c *Call) Sends(r *resolver.Request) {
	var cookies string
	if c.hash, c.hasHash, cookies = c.route.Hash(r, c.Client); cookies != "" {
		c.setCookie = &cookies
	}
	c.hashed = true
}

// SetCookie are Set-Cookie headers for the response, one to a line, once there was a
// pick. No cluster but one that goes by hashes has a cookie generated, as in Envoy.
func (c *Call) SetCookie() string {
	if !c.goesByHash || c.setCookie == nil {
		return ""
	}
	return *c.setCookie
}
