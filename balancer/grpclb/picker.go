package grpclb

import (
	"errors"

	gbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/metadata"

	"github.com/weft-mesh/weft/balancer"
)

// picker is immutable; the views that it holds are not, and answer for themselves.
type picker struct {
	// One of views, which is found without a look into them: most channels have no other.
	cluster *balancer.Cluster
	view    *balancer.View

	views map[*balancer.Cluster]*balancer.View
}

func newPicker(views map[*balancer.Cluster]*balancer.View) *picker {
	p := &picker{views: views}
	for p.cluster, p.view = range views {
		break
	}
	return p
}

// Pick implements grpc's Picker. Most calls need no more of it than what it does itself.
func (p *picker) Pick(info gbalancer.PickInfo) (gbalancer.PickResult, error) {
	c, ok := info.Ctx.Value(CallKey{}).(*Call)
	if !ok {
		return gbalancer.PickResult{}, errNotRouted
	}
	a := c.attempt
	if a.Cluster != p.cluster {
		return p.pick(c)
	}
	if ok, err := p.view.PickNext(info.Ctx, a); !ok {
		return p.pickFrom(p.view, c, err)
	}
	return c.picked(a.Link), nil
}

// pick is Pick for a call to a cluster that has to be looked for.
func (p *picker) pick(c *Call) (gbalancer.PickResult, error) {
	view := p.views[c.attempt.Cluster]
	if view == nil {
		if err := c.caller.Reroute(); err != nil {
			return gbalancer.PickResult{}, err
		}
		if view = p.views[c.attempt.Cluster]; view == nil {
			// The channel has not heard of the newest table yet; its news brings a
			// new picker.
			return gbalancer.PickResult{}, gbalancer.ErrNoSubConnAvailable
		}
	}
	return p.pickFrom(view, c, nil)
}

// pickFrom is the rest of Pick, where nothing has been picked from the view, perhaps with an
// error.
func (p *picker) pickFrom(view *balancer.View, c *Call, err error) (gbalancer.PickResult, error) {
	var link *balancer.Link
	var authority string
	if err == nil {
		link, authority, err = c.caller.Pick(view)
	}
	if err != nil {
		if err = c.caller.Unpicked(err); errors.Is(err, balancer.ErrConnecting) {
			err = gbalancer.ErrNoSubConnAvailable
		}
		return gbalancer.PickResult{}, err
	}
	result := c.picked(link)
	if authority != "" {
		// Not among the call's metadata: grpc takes it for the stream's authority,
		// unless the application set that itself (gRFC A81).
		result.Metadata = metadata.Pairs(":authority", authority)
	}
	return result, nil
}

var errNotRouted = errors.New("weft: the call passed no mesh interceptor, so nothing chose its cluster")
