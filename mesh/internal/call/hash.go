package call

import "github.com/weft-mesh/weft/balancer"

// hash is what a call's route makes of it for ring_hash and maglev.
type hash struct {
	value    uint64
	has      bool
	computed bool
}

// computeHash hashes the call once, when a view asks for it that goes by hashes: no
// other cluster has a cookie generated, as in Envoy.
func (c *Call) computeHash(v *balancer.View) {
	if c.hash.computed || !v.Hashes() {
		return
	}
	c.hash.computed = true
	c.hash.value, c.hash.has, c.SetCookie = c.route.Hash(&c.Request, c.Client)
}
