package mesh

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/balancer/grpclb"
	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/mesh/internal/call"
	"github.com/weft-mesh/weft/resilience"
	"github.com/weft-mesh/weft/resolver"
)

// rpc is one RPC: its way through policy, and a context that carries it to the picker.
type rpc struct {
	lb grpclb.Call // what picks for it
	context.Context
	sampler call.Sampler

	call call.Call

	cancel  context.CancelFunc // of the deadline that policy set; nil for none
	refuse  *error             // why the last pick found nothing; nil if it did, or nothing yet
	changed *changedRPC        // nil if policy changes nothing of the request
}

// newRPC returns an RPC of the channel.
func (ch *channel) newRPC() *rpc {
	r := new(rpc)
	r.lb.Init(r, &r.call.Attempt)
	r.call.Target, r.call.Client = ch.target, ch.id
	r.call.Request = resolver.Request{Authority: ch.target.Name, Method: "POST", Scheme: "http", GRPC: true, Headers: r}
	return r
}

// recycle has an RPC that was Alone and has ended serve another, unless grpc is not finished
// with it. Nobody else has a hold on it: grpc knew it by carrier only, which is the
// application's to keep.
func (ch *channel) recycle(r *rpc, by *carrier) {
	by.rpc = nil
	if r.lb.Idle() {
		r.Context = nil
		r.call.Renew()
		ch.spare.Put(r)
	}
}

// carrier is a context that carries an RPC to the picker for as long as that is under way.
type carrier struct {
	context.Context
	rpc *rpc // nil once it has ended
}

// Value makes the RPC findable.
func (c *carrier) Value(key any) any {
	if _, ok := key.(grpclb.CallKey); ok && c.rpc != nil {
		return &c.rpc.lb
	}
	return c.Context.Value(key)
}

// begin lets an RPC in, routes it, sets the deadline that its route asks for, and has it
// pass the filters, with the message of a unary call. After an error there is nothing to end.
func (r *rpc) begin(ctx context.Context, method string, message any) error {
	r.Context = ctx
	r.call.Request.Path = method
	if err := r.call.Begin(ctx); err != nil {
		return err
	}
	if d := r.call.Timeout(); d > 0 {
		r.Context, r.cancel = context.WithTimeout(ctx, d)
	}
	if r.call.Plain() {
		return nil
	}
	err := r.call.Enter(r.Context, filter.MetadataOf(r), grpcProtocol, r.offer(message))
	if err != nil {
		r.end(r.outcome(err))
	}
	return err
}

// end is called when grpc is finished with the call.
func (r *rpc) end(o balancer.Outcome) {
	r.call.End(o)
	if r.cancel != nil {
		r.cancel()
	}
}

// outcome is what became of the call at its endpoint. grpc ends calls whose context
// ended with a status of its own.
func (r *rpc) outcome(err error) balancer.Outcome {
	if err == nil {
		return balancer.Outcome{}
	}
	code := status.Code(err)
	if code == codes.Canceled || code == codes.DeadlineExceeded {
		if call.TimedOut(r.Context) != nil {
			return balancer.Outcome{Err: context.DeadlineExceeded}
		}
		if ended := r.Context.Err(); ended != nil {
			return balancer.Outcome{Err: ended}
		}
	}
	return balancer.Outcome{Code: int(code)}
}

// unary returns the innermost interceptor of a channel's unary calls. What most calls need it
// does itself.
func (ch *channel) unary() grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		r, _ := ch.spare.Get().(*rpc)
		if r == nil {
			r = ch.newRPC()
		}
		r.Context, r.call.Request.Path = ctx, method
		headerless := !r.call.Request.Heeds() || outgoingMetadata != nil && ctx.Value(outgoingMetadata) == nil
		if (len(opts) == 0 || !tellOfEnd(opts)) && r.call.BeginStraight(headerless) {
			var began time.Duration
			if r.call.Sampled() {
				began = r.sampler.Clock()
			}
			c := &carrier{ctx, r}
			err := invoke(c, method, req, reply, cc, opts...)
			if err == nil && r.call.Leave() {
				if began != 0 {
					r.call.Succeeded(began)
				}
				ch.recycle(r, c)
				return nil
			}
			return ch.finish(r, c, newInvocation(method, req, reply, cc, invoke, opts), began, err)
		}
		return ch.invoke(ctx, r, newInvocation(method, req, reply, cc, invoke, opts))
	}
}

// invoke makes a unary call of which it is not known what it needs.
func (ch *channel) invoke(ctx context.Context, r *rpc, in *invocation) error {
	err := r.begin(ctx, in.method, in.req)
	if err != nil {
		return err
	}
	if !r.call.Direct() || tellOfEnd(in.opts) {
		err = r.send(ch, in)
		r.end(r.outcome(err))
		return r.explain(err)
	}
	var began time.Duration
	if r.retried() {
		began = r.sampler.Clock()
	}
	c := &carrier{r.Context, r}
	return ch.finish(r, c, in, began, in.try(c))
}

// finish ends a unary call that is Direct, whose first attempt began at the time of clock and
// ended with err.
func (ch *channel) finish(r *rpc, c *carrier, in *invocation, began time.Duration, err error) error {
	if err != nil {
		err = r.retry(r.Context, in, nil, began, err)
		r.end(r.outcome(err))
		return r.explain(err)
	}
	if r.retried() {
		r.call.Succeeded(began)
	}
	alone := r.call.Alone()
	r.end(balancer.Outcome{})
	if alone {
		r.cancel = nil
		ch.recycle(r, c)
	}
	return nil
}

// send sends a unary call as policy has it sent.
func (r *rpc) send(ch *channel, in *invocation) error {
	if r.call.Plain() {
		return r.unaryAttempts(in)
	}
	var err error
	if in.req, err = r.passUnary(in.req); err != nil {
		return err
	}
	r.idleUnary()
	in.method = r.change(in.method)
	if r.call.Mirrored() {
		r.mirror(ch, in.method, in.req, in.cc, in.invoke, in.opts)
	}
	followed := r.follow(in.opts, false)
	if followed != nil {
		followed.reply = in.reply
		in.opts = followed.opts(in.opts)
	}
	err = r.unaryAttempts(in)
	if followed != nil {
		err = followed.finish(in.opts, err)
	}
	if paced := r.call.Pace(); paced != nil && err == nil {
		r.call.Done(r.outcome(nil)) // that it waits is not the endpoint's doing
		err = holdMessage(r.Context, paced, in.reply)
	}
	return err
}

// stream is the innermost interceptor of a channel's streams.
func (ch *channel) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	r := ch.newRPC()
	err := r.begin(ctx, method, nil)
	if empty(err, desc) {
		return newEmptyStream(ctx, opts), nil
	} else if err != nil {
		return nil, err
	}
	idle := r.idle()
	// The stream may live long after this returned; grpc tells of its end, and of
	// one that never began.
	method = r.change(method)
	followed := r.follow(opts, true)
	end := r.endStream
	if followed != nil {
		asked := opts
		opts = followed.opts(opts)
		end = func(err error) { r.endStream(followed.finish(asked, err)) }
	}
	var passed *passedStream
	if followed != nil && r.call.FollowsResponse() {
		if passed = r.pass(followed, cc, desc, end); passed != nil {
			end = passed.finish
		}
	}
	opts = append(opts[:len(opts):len(opts)], grpc.OnFinish(end))
	var copies *streamCopies
	if r.call.Mirrored() {
		if copies = r.mirrorStream(ch, method, desc, cc, open, opts); copies != nil {
			opts = append(opts, grpc.OnFinish(copies.ended))
		}
	}
	var s grpc.ClientStream
	if r.retried() {
		s, err = r.retryStream(desc, cc, method, open, opts)
	} else {
		r.Context = r.number(r.Context, 1)
		if s, err = open(r, desc, cc, method, opts...); err != nil {
			err = r.explain(err)
		}
	}
	if err != nil {
		if passed != nil {
			passed.deliver()
		}
		return nil, err
	}
	if copies != nil {
		s = mirroredStream{s, copies}
	}
	if passed != nil {
		s = passed.over(s)
	} else if followed != nil {
		s = &followedStream{ClientStream: s, followed: followed}
	}
	if r.call.Watched() {
		s = &watchedStream{ClientStream: s, rpc: r}
	}
	if idle != nil {
		idle.ClientStream, s = s, idle
	}
	if paced := r.call.Pace(); paced != nil {
		s = newPacedStream(ctx, r, s, paced)
	}
	return s, nil
}

// explain puts the mesh's own error in place of the status that grpc made of it.
func (r *rpc) explain(err error) error {
	if err != nil && r.refused(err) {
		return r.call.Refused(*r.refuse)
	}
	return err
}

// refused reports whether err is what grpc made of a pick that found nothing.
func (r *rpc) refused(err error) bool {
	return r.refuse != nil && status.Code(err) == codes.Unavailable
}

// chose keeps why a pick found nothing, if err says more than that there is nothing yet.
func (r *rpc) chose(err error) {
	r.refuse, r.call.Next = nil, false // the next pick is Pick's, which forgets it
	if err != nil && !errors.Is(err, balancer.ErrConnecting) {
		why := err // for err itself a pick that finds something would allocate
		r.refuse = &why
	}
}

// Value makes the RPC findable in its context.
func (r *rpc) Value(key any) any {
	if _, ok := key.(grpclb.CallKey); ok {
		return &r.lb
	}
	return r.Context.Value(key)
}

// Values returns the call's metadata of a name, for header matchers.
func (r *rpc) Values(n *resolver.HeaderName) []string {
	if r.changed != nil {
		return metadata.ValueFromOutgoingContext(r.changed.before, n.Lower)
	}
	return metadata.ValueFromOutgoingContext(r.Context, n.Lower)
}

// outgoingMetadata is the key of a call's metadata in its context. Package metadata keeps it
// to itself, but asks for it. To look there takes a fraction of what that package takes to say
// that there is none.
var outgoingMetadata = func() any {
	var asked keyed
	metadata.FromOutgoingContext(&asked)
	return asked.key
}()

// keyed is a context without values that keeps the last key it was asked for.
type keyed struct {
	context.Context
	key any
}

func (k *keyed) Value(key any) any {
	k.key = key
	return nil
}

// The methods below are those of grpclb.Caller.

func (r *rpc) Reroute() error {
	err := r.call.Reroute(r.Context)
	r.chose(err)
	if err == nil && r.changed != nil && r.call.HasHash() {
		r.call.Sends(r.sent())
	}
	return err
}

func (r *rpc) Pick(v *balancer.View) (*balancer.Link, string, error) {
	if t, ok := r.call.Sender().(*unaryTries); ok {
		t.ended = ended{}
	}
	link, err := r.call.Pick(r.Context, v, nil)
	if err != nil {
		return nil, "", err
	}
	if to := link.Endpoint().OriginalDst(); to != nil {
		if err = r.readdressed(link.Endpoint(), to); err != nil {
			return nil, "", err
		}
	}
	r.refuse = nil
	if r.changed == nil {
		return link, "", nil
	}
	return link, r.authority(link.Endpoint()), nil
}

func (r *rpc) Unpicked(err error) error {
	if errors.Is(err, balancer.ErrDropped) || errors.Is(err, resilience.ErrLimit) || errors.Is(err, resilience.ErrBreaker) {
		// As a status, it ends also a call that would wait for a better time.
		err = r.call.Refused(err)
	}
	r.chose(err)
	return err
}
