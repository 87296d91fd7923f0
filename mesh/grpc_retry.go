package mesh

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	gbalancer "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/balancer/grpclb"
	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/internal/message"
	"github.com/weft-mesh/weft/mesh/internal/call"
	"github.com/weft-mesh/weft/resilience"
)

// retried reports whether policy may have the RPC tried again.
func (r *rpc) retried() bool { return r.call.Policy() != nil }

// Failed takes what grpc knows of an attempt that may have failed. It is a method of
// grpclb.Caller.
func (r *rpc) Failed(info gbalancer.DoneInfo) {
	if r.retried() {
		r.tries().saw(info)
	}
	r.heed(info)
}

// heed counts a server that asks not to be retried, where no attempt follows anyway.
func (r *rpc) heed(info gbalancer.DoneInfo) {
	if grpclb.TrailersOnly(info.Trailer) {
		r.call.PushedBack(resilience.ParseGRPCPushback(info.Trailer[resilience.GRPCPushback]))
	}
}

// tries returns what the RPC keeps of its attempts, for which a call that does not fail has
// no need.
func (r *rpc) tries() *unaryTries {
	if t, ok := r.call.Sender().(*unaryTries); ok {
		return t
	}
	t := &unaryTries{rpc: r}
	r.call.Track(t)
	return t
}

// ended is what grpc knows of an attempt that failed. It is of the last endpoint that was
// picked for it: grpc picks another by itself for what no server has looked at.
type ended struct {
	seen    bool // false for nothing that would have it tried again
	sent    bool // perhaps
	trailer metadata.MD
}

func (e *ended) saw(info gbalancer.DoneInfo) {
	*e = ended{seen: true, sent: info.BytesSent, trailer: info.Trailer}
}

// result is what came of an attempt of the call whose context is ctx.
func (r *rpc) result(ctx context.Context, err error, e *ended) resilience.Result {
	s := resilience.Result{GRPC: true, Code: status.Code(err)}
	switch {
	case err == nil:
	case call.TimedOut(r.Context) != nil:
		s.Kind, s.Code = resilience.TimedOut, codes.DeadlineExceeded
	case ctx.Err() != nil:
		s.Kind = resilience.Canceled
	case r.refused(err):
		return r.call.Unsent(r.call.Refused(*r.refuse))
	case !e.seen: // it failed before any endpoint was picked, or after its answer had begun
		s.Partial = true
	case !e.sent:
		s.Kind, s.NotSent = resilience.Reset, true
	case grpclb.TrailersOnly(e.trailer):
		s.Status, s.Headers = 200, trailerHeaders(e.trailer)
		s.Pushback = resilience.ParseGRPCPushback(e.trailer[resilience.GRPCPushback])
	case strings.Contains(err.Error(), "REFUSED_STREAM"):
		s.Kind = resilience.RefusedStream // which grpc says only so
	default:
		s.Kind = resilience.Reset
	}
	return s
}

// trailerHeaders shows retry conditions an answer.
type trailerHeaders metadata.MD

// Values returns several values as one (gRFC A28).
func (h trailerHeaders) Values(name string) []string {
	if v, ok := h.Header(name); ok {
		return []string{v}
	}
	return nil
}

func (h trailerHeaders) Header(name string) (string, bool) {
	values := metadata.MD(h).Get(name)
	return strings.Join(values, ","), len(values) > 0
}

// Headers by which attempts say their number: gRFC A6's counts those before, Envoy's all.
const previousAttempts = "grpc-previous-rpc-attempts"

var attemptCount = filter.NewHeaderName("x-envoy-attempt-count")

// number returns ctx with the metadata of the n-th attempt.
func (r *rpc) number(ctx context.Context, n int) context.Context {
	count, _ := r.call.CountsAttempts()
	if n == 1 && !count {
		return ctx
	}
	md, ok := metadata.FromOutgoingContext(ctx) // a copy
	if !ok {
		md = metadata.MD{}
	}
	if n > 1 {
		md.Set(previousAttempts, strconv.Itoa(n-1))
	}
	if count {
		md.Set(attemptCount.Lower, strconv.Itoa(n))
	}
	return metadata.NewOutgoingContext(ctx, md)
}

// notTransparently is for attempts after the first: grpc sends again by itself what no
// server has looked at, which is for the first attempt of a call only (gRFC A6, transparent
// retries), and to grpc each attempt is a call. It does not once the request is sent and
// more than it may keep.
var notTransparently = grpc.MaxRetryRPCBufferSize(0)

// unaryTries makes the attempts of a unary RPC one after another. It exists once one has
// failed.
type unaryTries struct {
	rpc *rpc
	ctx context.Context // the call's
	ended
	invocation
	bound *call.Bound
	err   error // of the last attempt
}

// invocation is what grpc is asked for.
type invocation struct {
	method     string
	req, reply any
	cc         *grpc.ClientConn
	invoke     grpc.UnaryInvoker
	opts       []grpc.CallOption
}

// newInvocation is not inlined: what most calls do without is not to lie on their way.
//
//go:noinline
func newInvocation(method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts []grpc.CallOption) *invocation {
	return &invocation{method, req, reply, cc, invoke, opts}
}

// try has grpc make an attempt within ctx.
func (in *invocation) try(ctx context.Context) error {
	return in.invoke(ctx, in.method, in.req, in.reply, in.cc, in.opts...)
}

// unaryAttempts makes the attempts of a unary RPC, as many as policy has it make. The RPC
// has yet to end.
func (r *rpc) unaryAttempts(in *invocation) error {
	policy := r.call.Policy()
	if policy == nil {
		r.Context = r.number(r.Context, 1)
		return in.try(r)
	}
	var finish []func(error)
	in.opts, finish = apart(in.opts)
	var err error
	if policy.Hedge != nil && r.call.Retriable() && message.Replicable(in.reply) {
		err = r.race(*in)
	} else {
		err = r.inTurn(in)
	}
	for _, f := range finish {
		f(err)
	}
	return err
}

// inTurn makes the attempts one after another.
func (r *rpc) inTurn(in *invocation) error {
	ctx := r.Context
	bounded, bound := r.call.Bound(ctx, true)
	r.Context = r.number(bounded, 1)
	began := r.sampler.Clock()
	err := in.try(r)
	if err == nil {
		r.call.Succeeded(began)
		r.ends(bound)
		return nil
	}
	return r.retry(ctx, in, bound, began, err)
}

// retry makes the attempts of a call within ctx that follow the first, which began at the
// time of sampler.Clock and failed with err, if any do.
func (r *rpc) retry(ctx context.Context, in *invocation, bound *call.Bound, began time.Duration, err error) error {
	if !r.retried() { // by the route of the first attempt
		r.ends(bound)
		return err
	}
	t := r.tries()
	result := r.result(ctx, err, &t.ended)
	if result.Kind == resilience.TimedOut {
		err = timedOut(r.Context)
	}
	if r.call.Again(&result, began) {
		in.opts = append(in.opts[:len(in.opts):len(in.opts)], notTransparently)
		t.ctx, t.invocation, t.bound, t.err = ctx, *in, bound, err
		if r.call.Retry(ctx, t, &result) != nil {
			err = t.err
		} else {
			err = contextError(ctx)
		}
		bound = t.bound
	}
	r.ends(bound)
	return err
}

// ends has bound end with the RPC.
func (r *rpc) ends(bound *call.Bound) {
	switch end := r.cancel; {
	case bound == nil:
	case end == nil:
		r.cancel = bound.Stop
	default:
		r.cancel = func() { bound.Stop(); end() }
	}
}

// contextError is the status of a call whose context ended while nothing was in flight.
func contextError(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return status.FromContextError(ctx.Err()).Err()
}

// timedOut is the status of an attempt that was given up.
func timedOut(attempt context.Context) error {
	return status.Error(codes.DeadlineExceeded, "weft: "+call.TimedOut(attempt).Error())
}

// Attempt implements call.Sender.
func (t *unaryTries) Attempt(n int) call.Attempt {
	var bounded context.Context
	bounded, t.bound = t.rpc.call.Bound(t.ctx, true)
	t.rpc.Context = t.rpc.number(bounded, n)
	return t
}

// Send implements call.Attempt.
func (t *unaryTries) Send() resilience.Result {
	forget(t.opts)
	t.ended = ended{}
	t.err = t.try(t.rpc)
	result := t.rpc.result(t.ctx, t.err, &t.ended)
	if result.Kind == resilience.TimedOut {
		t.err = timedOut(t.rpc.Context)
	}
	return result
}

// Drop implements call.Attempt.
func (t *unaryTries) Drop() {
	t.rpc.call.Done(t.rpc.outcome(t.err))
	t.bound.Stop()
}

// tellOfEnd reports whether an option of a call's is for the call, not for an attempt.
func tellOfEnd(opts []grpc.CallOption) bool {
	return slices.ContainsFunc(opts, func(o grpc.CallOption) bool {
		_, ok := o.(grpc.OnFinishCallOption)
		return ok
	})
}

// apart takes out of a call's options those that are for the call, not for an attempt.
func apart(opts []grpc.CallOption) (rest []grpc.CallOption, finish []func(error)) {
	for i, o := range opts {
		f, ok := o.(grpc.OnFinishCallOption)
		switch {
		case ok && finish == nil:
			rest = append(rest, opts[:i]...)
			fallthrough
		case ok:
			finish = append(finish, f.OnFinish)
		case finish != nil:
			rest = append(rest, o)
		}
	}
	if finish == nil {
		return opts, nil
	}
	return rest, finish
}

// forget takes back what an attempt has filled in, which the next may leave alone.
func forget(opts []grpc.CallOption) {
	for _, o := range opts {
		switch o := o.(type) {
		case grpc.HeaderCallOption:
			*o.HeaderAddr = nil
		case grpc.TrailerCallOption:
			*o.TrailerAddr = nil
		case grpc.PeerCallOption:
			*o.PeerAddr = peer.Peer{}
		}
	}
}
