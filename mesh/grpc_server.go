package mesh

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/mesh/internal/call"
	"github.com/weft-mesh/weft/resolver"
)

// inboundRPC is an RPC that came in to a server.
type inboundRPC struct {
	call call.Call
	ctx  context.Context //nolint:containedctx // the metadata is looked at when a matcher or filter asks

	response *inboundResponse // nil if no filter sees it
}

// inboundRPCs are spare, of RPCs that passed no filter, or only such as left them alone:
// nobody else has seen them.
var inboundRPCs = sync.Pool{New: func() any { return new(inboundRPC) }}

const authorityHeader = ":authority"

func newInboundRPC(ctx context.Context, method string) *inboundRPC {
	r := inboundRPCs.Get().(*inboundRPC)
	r.ctx = ctx
	r.call.Request = resolver.Request{Path: method, Method: "POST", Scheme: "http", GRPC: true, Headers: r}
	if named := metadata.ValueFromIncomingContext(ctx, authorityHeader); len(named) > 0 {
		r.call.Request.Authority = named[0]
	}
	if p, ok := peer.FromContext(ctx); ok && p.AuthInfo != nil && p.AuthInfo.AuthType() != "insecure" {
		r.call.Request.Scheme = "https"
	}
	return r
}

// unary is the interceptor of a server's unary calls.
func (s *server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (reply any, err error) {
	r := newInboundRPC(ctx, info.FullMethod)
	if err := s.accept(ctx, &r.call); err != nil {
		r.free()
		return nil, err
	}
	ended := errHandlerPanicked
	defer func() { r.end(ended) }()
	if !r.call.Filtered() {
		reply, err = handle(ctx, req)
		ended = err
		return reply, err
	}
	var given filter.Body
	var passed *unaryReply
	var sink func(any) error
	request, response := r.call.Bodies()
	if request {
		given = &messageBody{message: req}
	}
	if response {
		passed = &unaryReply{}
		sink = passed.sink
	}
	ctx, err = s.admit(r, transportSink(ctx), given, sink)
	if err == nil {
		if req, err = r.passInbound(req); err != nil {
			err = s.outside(&r.call, r.call.BodyFailed(err))
		}
	}
	if err == nil {
		reply, err = handle(ctx, req)
	}
	if paced := r.call.Pace(); paced != nil && err == nil {
		err = holdMessage(ctx, paced, reply)
	}
	if reply, err = r.respondWith(reply, err, passed); err != nil {
		reply = nil
	}
	ended = err
	return reply, err
}

// stream is the interceptor of a server's streams.
func (s *server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	r := newInboundRPC(ss.Context(), info.FullMethod)
	if err := s.accept(ss.Context(), &r.call); err != nil {
		r.free()
		return err
	}
	ended := errHandlerPanicked
	defer func() { r.end(ended) }()
	if !r.call.Filtered() {
		ended = handle(srv, ss)
		return ended
	}
	var given filter.Body
	var sink func(any) error
	in := &inboundStream{ServerStream: ss}
	request, response := r.call.Bodies()
	if request {
		given = &inboundBody{stream: ss, like: newMessageLike()}
	}
	if response {
		sink = in.sink
	}
	ctx, err := s.admit(r, streamSink{ss}, given, sink)
	if err == nil {
		in.ctx, in.response, in.paced = ctx, r.response, r.call.Pace()
		in.pass(given)
		err = handle(srv, in)
	} else if reply := filter.ReplyOf(err); reply != nil && reply.Empty && info.IsServerStream {
		err = nil
	}
	ended = r.respond(err)
	return ended
}

var errHandlerPanicked = errors.New("the handler panicked")

// admit has the RPC pass the filters, with its body if they want that, and returns the
// context for what serves it. The error is for the RPC's caller. What filters make of the
// response's messages goes to sink.
func (s *server) admit(r *inboundRPC, down headerSink, body filter.Body, sink func(any) error) (context.Context, error) {
	from := ""
	if p, ok := peer.FromContext(r.ctx); ok && p.Addr != nil {
		from = p.Addr.String()
	}
	err := r.call.Admit(r.ctx, filter.MetadataOf(r), grpcProtocol, from, body)
	if err != nil {
		err = s.outside(&r.call, err)
	}
	ctx := r.ctx
	if in, _ := r.call.Entered(); in == nil {
		return ctx, err
	} else if in.Header.Changed() || in.Authority != first(metadata.ValueFromIncomingContext(ctx, authorityHeader)) {
		md := metadata.MD(in.Header.Map()).Copy()
		if in.Authority != "" {
			md[authorityHeader] = []string{in.Authority}
		}
		ctx = metadata.NewIncomingContext(ctx, md)
	}
	if r.call.FollowsResponse() {
		r.response = &inboundResponse{rpc: r, server: s, down: down, sink: sink}
		if _, bodies := r.call.Bodies(); bodies || body != nil {
			ctx, r.response.cancel = context.WithCancel(ctx)
		}
		if st := grpc.ServerTransportStreamFromContext(ctx); st != nil {
			ctx = grpc.NewContextWithServerTransportStream(ctx, inboundTransport{st, r.response})
		}
	}
	return ctx, err
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// respond ends the response of an RPC that passed filters: err is what the handler, or a
// filter, said, and what is returned is for the caller.
func (r *inboundRPC) respond(err error) error {
	if r.response == nil {
		return err
	}
	return r.response.finish(err)
}

// respondWith is respond for a unary RPC and its reply.
func (r *inboundRPC) respondWith(reply any, err error, passed *unaryReply) (any, error) {
	if r.response == nil {
		return reply, err
	}
	return r.response.finishUnary(reply, err, passed)
}

// end tells the filters how the RPC ended.
func (r *inboundRPC) end(err error) {
	code, ok := status.FromError(err)
	if !ok {
		code = status.FromContextError(err) // as grpc has it
	}
	o := balancer.Outcome{Code: int(code.Code())}
	if errors.Is(err, errHandlerPanicked) || r.ctx.Err() != nil && err != nil {
		o.Err = err
	}
	in, _ := r.call.Entered()
	r.call.End(o)
	if in == nil {
		r.free()
	}
}

func (r *inboundRPC) free() {
	*r = inboundRPC{}
	inboundRPCs.Put(r)
}

// Values returns the RPC's metadata of a name, for header matchers.
func (r *inboundRPC) Values(n *resolver.HeaderName) []string {
	return metadata.ValueFromIncomingContext(r.ctx, n.Lower)
}

// HeaderValues returns the RPC's metadata. It makes it a filter.HeaderSource.
func (r *inboundRPC) HeaderValues() map[string][]string {
	md, _ := metadata.FromIncomingContext(r.ctx) // a copy
	delete(md, authorityHeader)                  // a filter has it beside the header
	return md
}
