package mesh

import (
	"cmp"
	"context"
	"sync/atomic"

	"google.golang.org/grpc/metadata"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resolver"
)

// changedRPC is what policy changed of an RPC.
type changedRPC struct {
	before    context.Context // with the application's metadata, for header matchers
	authority string          // in place of the channel's; may be empty
	method    string          // as sent
	header    filter.Header

	named atomic.Pointer[string] // the authority of the last attempt, of which hedges have several at a time; nil for authority
}

// sentTo is the authority of the last attempt; empty for the channel's.
func (c *changedRPC) sentTo() string {
	if name := c.named.Load(); name != nil {
		return *name
	}
	return c.authority
}

// change changes the RPC's metadata and returns its method as it is to be sent. A call
// that waits and is then routed anew keeps its changes.
func (r *rpc) change(method string) string {
	change := r.call.Change()
	changes := change.ChangesRequest(true)
	entered, rewritten := r.call.Entered()
	if !changes && !rewritten && (entered == nil || !entered.Header.Changed()) {
		return method
	}
	r.changed = &changedRPC{before: r.Context}
	if entered != nil {
		// A copy: matchers of a call that is routed anew look at what the filters left.
		r.changed.header = entered.Header.Copy()
		method = entered.Path
		if entered.Authority != r.call.Target.Name {
			r.changed.authority = entered.Authority
		}
	} else {
		r.changed.header = filter.MetadataOf(r)
	}
	if changes {
		to := change.Request(&r.call.Request, &r.changed.header, grpcProtocol)
		if to.Path != "" {
			method = to.Path
		}
		if to.Host != "" {
			r.changed.authority = to.Host
		}
	}
	r.changed.method = method
	r.Context = metadata.NewOutgoingContext(r.Context, r.changed.header.Map())
	if r.call.HasHash() {
		r.call.Sends(r.sent())
	}
	return method
}

// sent is the request as it was sent.
func (r *rpc) sent() *resolver.Request {
	req := r.call.Request
	if c := r.changed; c != nil {
		req.Authority, req.Path, req.Headers = cmp.Or(c.sentTo(), req.Authority), c.method, &c.header
	}
	return &req
}

// HeaderValues returns the application's metadata. It makes the RPC a
// filter.HeaderSource.
func (r *rpc) HeaderValues() map[string][]string {
	md, _ := metadata.FromOutgoingContext(r.Context) // a copy
	return md
}

// grpcProtocol is what policy may call the protocol.
const grpcProtocol = "HTTP/2"

// authority is what a call to e names as its authority; empty for the channel's
// (gRFCs A81, A111).
func (r *rpc) authority(e *balancer.Endpoint) string {
	c := r.changed
	if c == nil {
		return ""
	}
	if name := e.Hostname(); name != "" && r.call.Change().AutoHost(true) {
		c.named.Store(&name)
		return name
	}
	c.named.Store(nil)
	return c.authority
}
