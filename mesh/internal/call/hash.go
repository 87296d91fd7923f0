package call

import (
	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resolver"
)

// HasHash reports whether the call's route says what to hash of it.
func (c *Call) HasHash() bool { return c.route.HasHash() }

// Sends says how policy has the request sent, before Pick: that is what is hashed, as in
// Envoy.
func (c *Call) Sends(r *resolver.Request) { c.sent = r }

// computeHash hashes the call once, when a view asks for it that goes by hashes: no
// other cluster has a cookie generated, as in Envoy.
func (c *Call) computeHash(v *balancer.View) {
	if c.hashed || !v.Hashes() {
		return
	}
	c.hashed = true
	r := &c.Request
	if c.sent != nil {
		r = c.sent
	}
	c.hash, c.hasHash, c.SetCookie = c.route.Hash(r, c.Client)
}
