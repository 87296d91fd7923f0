package mesh

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/weft-mesh/weft/balancer/grpclb"
	"github.com/weft-mesh/weft/filter"
)

// followed is the response of an RPC that policy changes or filters see.
type followed struct {
	rpc    *rpc
	cancel context.CancelFunc // ends a stream that a filter refuses; nil for unary calls

	// Written by grpc when the RPC ends.
	header, trailer metadata.MD

	reply     any // of a unary call; nil for streams
	responded atomic.Bool

	mu       sync.Mutex // streams end while they are used
	ended    bool
	response metadata.MD // the header as changed
	err      error       // in place of the response
}

// follow returns nil if nobody wants to know of the response.
func (r *rpc) follow(opts []grpc.CallOption, stream bool) *followed {
	filters := r.call.FollowsResponse()
	_, count := r.call.CountsAttempts()
	if !filters && (!count && !r.call.Change().ChangesResponse() || !stream && !slices.ContainsFunc(opts, asksForAnswer)) {
		return nil
	}
	f := &followed{rpc: r}
	if stream && filters {
		ctx, cancel := context.WithCancel(r.Context)
		if end := r.cancel; end != nil {
			r.cancel = func() { cancel(); end() }
		} else {
			r.cancel = cancel
		}
		r.Context, f.cancel = ctx, cancel
	}
	return f
}

// asksForAnswer also reports options that ask for trailers, which may be all there is.
func asksForAnswer(o grpc.CallOption) bool {
	switch o.(type) {
	case grpc.HeaderCallOption, grpc.TrailerCallOption:
		return true
	}
	return false
}

// opts has grpc fill in the response.
func (f *followed) opts(opts []grpc.CallOption) []grpc.CallOption {
	return append(opts[:len(opts):len(opts)], grpc.Header(&f.header), grpc.Trailer(&f.trailer))
}

// respond changes the header of the response, once, and returns it.
func (f *followed) respond(md metadata.MD) (metadata.MD, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		f.respondLocked(md)
	}
	return f.response.Copy(), f.err
}

func (f *followed) respondLocked(md metadata.MD) {
	if f.responded.Swap(true) {
		return
	}
	r, h := f.rpc, filter.OwnMetadata(md)
	f.change(&h)
	if c := r.changed; c != nil {
		r.call.SentAs(c.header, cmp.Or(c.sentTo(), r.call.Request.Authority), c.method, "")
	}
	f.response, f.err = r.call.Response(r.Context, h, 200)
}

// change changes the one block of headers of a response as policy has it.
func (f *followed) change(h *filter.Header) {
	r := f.rpc
	if _, count := r.call.CountsAttempts(); count {
		h.Set(attemptCount, strconv.Itoa(r.call.Attempted()))
	}
	if c := r.call.Change(); c.ChangesResponse() {
		c.Response(r.sent(), h, grpcProtocol, 200)
	}
}

// finish is called when grpc is finished with the RPC, and before it ends. It fills in
// what the caller's options ask for, with the response as changed.
func (f *followed) finish(opts []grpc.CallOption, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.header != nil {
		if err == nil {
			f.showReply()
		}
		f.respondLocked(f.header)
		f.passReply()
	}
	if f.header == nil && grpclb.TrailersOnly(f.trailer) {
		h := filter.OwnMetadata(f.trailer)
		f.change(&h)
	}
	if f.trailer != nil {
		f.trailer = f.rpc.call.Trailer(filter.OwnMetadata(f.trailer))
		f.err = cmp.Or(f.err, f.rpc.call.TrailerFailed())
	}
	f.ended = true
	for _, o := range opts {
		switch o := o.(type) {
		case grpc.HeaderCallOption:
			if *o.HeaderAddr != nil {
				*o.HeaderAddr = f.response.Copy()
			}
		case grpc.TrailerCallOption:
			if *o.TrailerAddr != nil {
				*o.TrailerAddr = f.trailer.Copy()
			}
		}
	}
	if f.err != nil {
		return f.err
	}
	return err
}

// refused returns the error that took the place of the response, or err.
func (f *followed) refused(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	return err
}

// followedStream is a stream whose response policy changes or filters see.
type followedStream struct {
	grpc.ClientStream
	followed *followed
}

func (s *followedStream) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	if err != nil || md == nil {
		return md, err
	}
	if md, err = s.followed.respond(md); err != nil && s.followed.cancel != nil {
		s.followed.cancel()
	}
	return md, err
}

func (s *followedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil {
		return s.followed.refused(err)
	}
	if s.followed.responded.Load() {
		return nil
	}
	_, err = s.Header()
	return err
}

func (s *followedStream) Trailer() metadata.MD {
	f := s.followed
	f.mu.Lock()
	if f.ended {
		defer f.mu.Unlock()
		return f.trailer.Copy()
	}
	f.mu.Unlock()
	return s.ClientStream.Trailer()
}
