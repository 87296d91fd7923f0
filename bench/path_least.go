package main

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"

	"github.com/weft-mesh/weft/mesh"
)

// The least that a library adds to a call if it has policy in the client at all: it sees
// the call, keeps something of it, and hears of its end; of RPCs it chooses the endpoint too.
// These paths do that and nothing else. What Weft takes more than they do is its policy's
// cost; what they take more than the bare client is that of having a place for it.

const leastPolicy = "bench_least"

func init() { balancer.Register(base.NewBalancerBuilder(leastPolicy, leastBuilder{}, base.Config{})) }

// leastCall is what is kept of an RPC. It is found in the context, and as long as Weft's.
type leastCall struct {
	context.Context
	ended bool
	_     [27]uint64
}

type leastKey struct{}

func (c *leastCall) Value(key any) any {
	if _, ok := key.(leastKey); ok {
		return c
	}
	return c.Context.Value(key)
}

func dialLeast(s *servers, _ *mesh.Mesh) (*grpc.ClientConn, error) {
	return dialBalanced(s, leastPolicy, grpc.WithUnaryInterceptor(leastInterceptor))
}

func leastInterceptor(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(&leastCall{Context: ctx}, method, req, reply, cc, opts...)
}

// leastPicker is round robin.
type leastPicker struct {
	picks []balancer.PickResult
	turn  atomic.Uint64
}

type leastBuilder struct{}

func (leastBuilder) Build(info base.PickerBuildInfo) balancer.Picker {
	if len(info.ReadySCs) == 0 {
		return base.NewErrPicker(balancer.ErrNoSubConnAvailable)
	}
	p := &leastPicker{}
	for sc := range info.ReadySCs {
		p.picks = append(p.picks, balancer.PickResult{SubConn: sc, Done: func(balancer.DoneInfo) {}})
	}
	return p
}

func (p *leastPicker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	if c, ok := info.Ctx.Value(leastKey{}).(*leastCall); ok {
		c.ended = true
	}
	return p.picks[p.turn.Add(1)%uint64(len(p.picks))], nil
}

func leastHTTP(newTransport func() *http.Transport) path {
	return overHTTP("the least: a RoundTripper and a body", backends, newTransport, func(t *http.Transport) http.RoundTripper {
		return leastTransport{t}
	})
}

type leastTransport struct{ *http.Transport }

func (t leastTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.Transport.RoundTrip(req)
	if err == nil {
		resp.Body = &leastExchange{ReadCloser: resp.Body}
	}
	return resp, err
}

// leastExchange is what is kept of a request. It is as long as Weft's.
type leastExchange struct {
	io.ReadCloser
	ended bool
	_     [33]uint64
}

func (x *leastExchange) Close() error {
	x.ended = true
	return x.ReadCloser.Close()
}
