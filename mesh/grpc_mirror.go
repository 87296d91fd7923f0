package mesh

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/mesh/internal/call"
)

// mirror sends copies of a unary call, as it is about to be sent, where policy wants
// copies. The message is encoded before, because the application may change it once the
// call has returned.
func (r *rpc) mirror(ch *channel, method string, req any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts []grpc.CallOption) {
	all := ch.mesh.mirrors
	copies := r.copies(all, call.MirrorTimeout, opts)
	if copies == nil {
		return
	}
	codec := codecOf(opts)
	message, ok := freeze(all, codec, req)
	if !ok {
		for _, c := range copies {
			c.mirror.End(unsent)
		}
		return
	}
	opts = copiedOptions(codec, opts)
	var sent sync.WaitGroup
	for _, c := range copies {
		sent.Go(func() { c.end(invoke(c, method, message, &frozen{}, cc, opts...)) })
	}
	go func() {
		sent.Wait()
		all.Free(len(message.data))
	}()
}

// rpcCopy is a copy of an RPC on its way to another cluster.
type rpcCopy struct {
	*rpc
	mirror *call.Mirror
}

// copies begins the copies of the RPC that policy wants. Where the route has no timeout,
// timeout bounds them.
func (r *rpc) copies(all *call.Mirrors, timeout time.Duration, opts []grpc.CallOption) []*rpcCopy {
	var copies []*rpcCopy
	for _, m := range r.call.Mirrors(all) {
		md, ok := metadata.FromOutgoingContext(r.Context) // a copy
		if !ok {
			md = metadata.MD{}
		}
		header := filter.OwnMetadata(md)
		m.Policy.Headers(&r.call.Request, &header, grpcProtocol, r.host(opts), m.Of)
		c := &rpc{Context: metadata.NewOutgoingContext(m.Context(timeout), md), call: m.Call}
		c.lb.Init(c, &c.call.Attempt)
		c.changed = &changedRPC{before: c.Context, authority: m.Policy.Host(r.host(opts), true)}
		c.call.Request.Headers = c
		copies = append(copies, &rpcCopy{c, m})
	}
	return copies
}

// host is what the RPC names as its authority, wherever it goes.
func (r *rpc) host(opts []grpc.CallOption) string {
	host := r.call.Request.Authority
	if r.changed != nil && r.changed.authority != "" {
		host = r.changed.authority
	}
	for _, o := range opts {
		if o, ok := o.(grpc.AuthorityOverrideCallOption); ok {
			host = o.Authority
		}
	}
	return host
}

// end ends the copy.
func (c *rpcCopy) end(err error) {
	c.mirror.Call = c.rpc.call
	c.mirror.End(c.outcome(err))
}

// frozen is an encoded message.
type frozen struct{ data []byte }

// frozenCodec sends frozen messages under the name of the codec that encoded them, and
// forgets what comes back.
type frozenCodec struct{ name string }

func (frozenCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*frozen)
	if !ok {
		return nil, errors.New("weft: a mirrored call sends encoded messages")
	}
	return mem.BufferSlice{mem.SliceBuffer(m.data)}, nil
}

func (frozenCodec) Unmarshal(mem.BufferSlice, any) error { return nil }

func (c frozenCodec) Name() string { return c.name }

// freeze encodes a message, which is then held; false if it cannot be mirrored.
func freeze(all *call.Mirrors, codec encoding.CodecV2, message any) (*frozen, bool) {
	if codec == nil {
		all.Drop("a codec that is not known")
		return nil, false
	}
	if _, prepared := message.(*grpc.PreparedMsg); prepared {
		all.Drop("a message that was encoded before")
		return nil, false
	}
	encoded, err := codec.Marshal(message)
	if err != nil { // the call will say so
		return nil, false
	}
	defer encoded.Free()
	if !all.Hold(encoded.Len()) {
		return nil, false
	}
	return &frozen{encoded.Materialize()}, true
}

// codecOf is what the call encodes its messages with; nil if that cannot be told.
func codecOf(opts []grpc.CallOption) encoding.CodecV2 {
	var forced encoding.CodecV2
	subtype := "proto"
	for _, o := range opts {
		switch o := o.(type) {
		case grpc.ForceCodecV2CallOption:
			forced = o.CodecV2
		case grpc.ForceCodecCallOption:
			forced = codecV1{o.Codec}
		case grpc.ContentSubtypeCallOption:
			subtype = o.ContentSubtype
		case grpc.CustomCodecCallOption:
			return nil // deprecated, and of another kind
		}
	}
	if forced != nil {
		return forced
	}
	if c := encoding.GetCodecV2(subtype); c != nil {
		return c
	}
	if c := encoding.GetCodec(subtype); c != nil {
		return codecV1{c}
	}
	return nil
}

// codecV1 encodes with a codec of grpc's older interface.
type codecV1 struct{ encoding.Codec }

func (c codecV1) Marshal(v any) (mem.BufferSlice, error) {
	data, err := c.Codec.Marshal(v)
	return mem.BufferSlice{mem.SliceBuffer(data)}, err
}

func (c codecV1) Unmarshal(data mem.BufferSlice, v any) error {
	return c.Codec.Unmarshal(data.Materialize(), v)
}

// copiedOptions are the call options of a copy: those that say what is sent. Others
// name places for the answer, which are the call's own to fill.
func copiedOptions(codec encoding.CodecV2, opts []grpc.CallOption) []grpc.CallOption {
	name := "" // the content type of a call that names no codec does not either
	var kept []grpc.CallOption
	for _, o := range opts {
		switch o.(type) {
		case grpc.ForceCodecV2CallOption, grpc.ForceCodecCallOption:
			name = codec.Name()
		case grpc.ContentSubtypeCallOption, grpc.CompressorCallOption, grpc.PerRPCCredsCallOption,
			grpc.MaxSendMsgSizeCallOption, grpc.StaticMethodCallOption:
			kept = append(kept, o)
		}
	}
	return append(kept, grpc.ForceCodecV2(frozenCodec{name}))
}

// Reroute leaves a copy where it was to go: its cluster is that of a table the channel
// has not heard of yet, or has left behind.
func (c *rpcCopy) Reroute() error { return nil }

// Value makes the copy findable in its context in place of the RPC.
func (c *rpcCopy) Value(key any) any {
	if v := c.rpc.Value(key); v != any(c.rpc) {
		return v
	}
	return c
}

var _ context.Context = (*rpcCopy)(nil)

// unsent is what became of a copy that was given up before it was sent.
var unsent = balancer.Outcome{Err: balancer.ErrUnsent}
