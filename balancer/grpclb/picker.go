package grpclb

import (
	"errors"

	gbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/metadata"

	"github.com/weft-mesh/weft/balancer"
)

// CallKey finds the [Call] in a call's context: a *Call, which it takes less to tell from
// what else there may be than a Call.
type CallKey struct{}

// Call is a call on its way through a channel. The mesh's interceptors put one
// into the context of every call; its methods are called by one goroutine at a time.
type Call interface {
	// Cluster is the cluster that the call was routed to.
	Cluster() *balancer.Cluster
	// Reroute routes the call by the newest table, because the channel no longer
	// knows its cluster. The error ends the call.
	Reroute() error
	// Pick chooses an endpoint from a view of the call's cluster, releasing one
	// chosen before: grpc picks again when a connection is lost under it.
	// The call reports the outcome itself, when it ends.
	Pick(*balancer.View) (Picked, error)
	// Failed takes what grpc says of an attempt that may have failed, when it is finished
	// with it: for each pick that wanted that and that it had an answer to, whether or not
	// anything was sent.
	Failed(gbalancer.DoneInfo)
}

// Picked is what a call picked.
type Picked struct {
	Link *balancer.Link
	// Authority is what the call is to name as its authority. Empty leaves the channel's.
	Authority string
	// Watcher is the call's own. Wanted reports whether Failed is to be called.
	Watcher *Watcher
	Wanted  bool
}

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

// viewOf returns the view of a cluster; nil if the channel has not heard of it.
func (p *picker) viewOf(c *balancer.Cluster) *balancer.View {
	if c == p.cluster {
		return p.view
	}
	return p.views[c]
}

func (p *picker) Pick(info gbalancer.PickInfo) (gbalancer.PickResult, error) {
	found, ok := info.Ctx.Value(CallKey{}).(*Call)
	if !ok {
		return gbalancer.PickResult{}, errNotRouted
	}
	call := *found
	view := p.viewOf(call.Cluster())
	if view == nil {
		if err := call.Reroute(); err != nil {
			return gbalancer.PickResult{}, err
		}
		if view = p.viewOf(call.Cluster()); view == nil {
			// The channel has not heard of the newest table yet; its news brings a
			// new picker.
			return gbalancer.PickResult{}, gbalancer.ErrNoSubConnAvailable
		}
	}
	picked, err := call.Pick(view)
	if err != nil {
		if errors.Is(err, balancer.ErrConnecting) {
			return gbalancer.PickResult{}, gbalancer.ErrNoSubConnAvailable
		}
		return gbalancer.PickResult{}, err
	}
	result := gbalancer.PickResult{SubConn: picked.Link.Conn().(*subConn).sc}
	if picked.Authority != "" {
		// Not among the call's metadata: grpc takes it for the stream's authority,
		// unless the application set that itself (gRFC A81).
		result.Metadata = metadata.Pairs(":authority", picked.Authority)
	}
	if link := picked.Link; picked.Wanted || link.WantsLoad() {
		result.Done = picked.Watcher.watch(call, link)
	}
	return result, nil
}

var errNotRouted = errors.New("weft: the call passed no mesh interceptor, so nothing chose its cluster")
