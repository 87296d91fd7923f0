package grpclb

import (
	gbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/metadata"

	"github.com/weft-mesh/weft/balancer"
)

// CallKey finds the *[Call] in a call's context.
type CallKey struct{}

// Call is a call on its way through a channel. The mesh's interceptors put one into the
// context of every call. It is used by one goroutine at a time, for one call after the
// other.
type Call struct {
	caller Caller
	// attempt is the caller's. Where it goes by Next the call picks without asking.
	attempt *balancer.Attempt

	link *balancer.Link // that was picked; nil once grpc is finished with that
	done func(gbalancer.DoneInfo)
}

// Caller is what makes a [Call].
type Caller interface {
	// Reroute routes the call by the newest table, because the channel no longer
	// knows its cluster. The error ends the call.
	Reroute() error
	// Pick chooses an endpoint from a view of the call's cluster, releasing one
	// chosen before: grpc picks again when a connection is lost under it. The call is to
	// name that as its authority; empty leaves the channel's.
	// The call reports the outcome itself, when it ends.
	Pick(*balancer.View) (link *balancer.Link, authority string, err error)
	// Unpicked takes why nothing was picked, and returns what ends the call if it is over.
	Unpicked(error) error
	// Failed takes what grpc says of an attempt that may have failed, when it is finished
	// with it, whether or not anything was sent.
	Failed(gbalancer.DoneInfo)
}

// Init makes c a call by caller, which makes its attempts as a says.
func (c *Call) Init(caller Caller, a *balancer.Attempt) {
	c.caller, c.attempt = caller, a
	c.done = func(info gbalancer.DoneInfo) {
		link := c.link
		c.link = nil
		if !info.BytesReceived || len(info.Trailer) > 0 {
			c.finish(link, &info)
		}
	}
}

// Idle reports whether grpc is finished with all that was picked.
func (c *Call) Idle() bool { return c.link == nil }

// picked returns what the call is to be sent over.
func (c *Call) picked(l *balancer.Link) gbalancer.PickResult {
	c.link = l
	return gbalancer.PickResult{SubConn: l.Conn().(*subConn).sc, Done: c.done}
}

// finish looks at the end of an attempt, of which there is more to say than that there was an
// answer.
func (c *Call) finish(link *balancer.Link, info *gbalancer.DoneInfo) {
	if link.WantsLoad() {
		reportLoad(link, info.Trailer)
	}
	// Whatever its error, an attempt whose answer had begun is not tried again. grpc leaves
	// out the error of one whose answer came before its request was sent.
	if !info.BytesReceived || TrailersOnly(info.Trailer) {
		c.caller.Failed(*info)
	}
}

// TrailersOnly reports whether a trailer is the one block of headers of an answer without
// any message, where the content type is.
func TrailersOnly(trailer metadata.MD) bool { return len(trailer["content-type"]) > 0 }
