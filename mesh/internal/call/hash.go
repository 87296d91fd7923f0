package call

import "github.com/weft-mesh/weft/balancer"

// computeHash hashes the call once, when a view asks for it that goes by hashes: no
// other cluster has a cookie generated, as in Envoy.
func (c *Call) computeHash(v *balancer.View) {
	if c.hashed || !v.Hashes() {
		return
	}
	c.hashed = true
	c.hash, c.hasHash, c.SetCookie = c.route.Hash(&c.Request, c.Client)
}
