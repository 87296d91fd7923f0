package mesh

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resolver"
)

// changedRPC is what policy changed of an RPC.
type changedRPC struct {
	before    context.Context // with the application's metadata, for header matchers
	authority string          // in place of the channel's; may be empty
}

// change changes the RPC's metadata and returns its method as it is to be sent. A call
// that waits and is then routed anew keeps its changes.
func (r *rpc) change(method string) string {
	change := r.call.Change()
	if !change.ChangesRequest(true) {
		return method
	}
	md, ok := metadata.FromOutgoingContext(r.Context) // a copy
	if !ok {
		md = metadata.MD{}
	}
	to := change.Request(&r.call.Request, mdHeaders(md), grpcProtocol)
	r.changed = &changedRPC{before: r.Context, authority: to.Host}
	r.Context = metadata.NewOutgoingContext(r.Context, md)
	if to.Path != "" {
		return to.Path
	}
	return method
}

// grpcProtocol is what policy may call the protocol.
const grpcProtocol = "HTTP/2"

// Authority is what a call to e names as its authority; empty for the channel's
// (gRFCs A81, A111). It is a method of grpclb.Call.
func (r *rpc) Authority(e *balancer.Endpoint) string {
	switch {
	case r.changed == nil:
		return ""
	case r.call.Change().AutoHost(true):
		return e.Hostname()
	default:
		return r.changed.authority
	}
}

// mdHeaders are metadata that policy can change.
type mdHeaders metadata.MD

func (h mdHeaders) Values(n *resolver.HeaderName) []string   { return h[n.Lower] }
func (h mdHeaders) Set(n *resolver.HeaderName, value string) { h[n.Lower] = []string{value} }
func (h mdHeaders) Del(n *resolver.HeaderName)               { delete(h, n.Lower) }
func (h mdHeaders) Add(n *resolver.HeaderName, value string) {
	h[n.Lower] = append(slices.Clip(h[n.Lower]), value)
}

// changeResponse changes the header of a response, which is new.
func (r *rpc) changeResponse(md metadata.MD) {
	if md != nil {
		r.call.Change().Response(&r.call.Request, mdHeaders(md), grpcProtocol, 200)
	}
}

// changeHeaders changes what grpc.Header put into the variables of its callers.
func (r *rpc) changeHeaders(opts []grpc.CallOption) {
	for _, o := range opts {
		if h, ok := o.(grpc.HeaderCallOption); ok {
			r.changeResponse(*h.HeaderAddr)
		}
	}
}

// changedStream is a stream whose response header policy changes. What grpc.Header is
// to fill is changed when the stream ends, which is when grpc fills it.
type changedStream struct {
	grpc.ClientStream
	rpc *rpc
}

// Header returns the header as changed; grpc makes a copy for every caller.
func (s *changedStream) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	s.rpc.changeResponse(md)
	return md, err
}
