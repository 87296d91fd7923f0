package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/examples/internal/shop"
)

// stall is how long a call takes that is stuck.
const stall = 300 * time.Millisecond

// backend serves the shop by gRPC and by HTTP, more or less well.
type backend struct {
	failEvery, stallEvery int64 // of its calls; 0 for never
	n                     atomic.Int64
}

// shopBackends are a good one, one that fails every fourth call, and one that is stuck in
// every tenth.
func shopBackends() []*backend {
	return []*backend{{}, {failEvery: 4}, {stallEvery: 10}}
}

// serve takes a call's time, and tells whether it goes well.
func (b *backend) serve(ctx context.Context) bool {
	n := b.n.Add(1)
	if b.stallEvery > 0 && n%b.stallEvery == 0 {
		select {
		case <-time.After(stall):
		case <-ctx.Done():
		}
	}
	return b.failEvery == 0 || n%b.failEvery != 0
}

// arrivals are the attempts that reached the backends.
type arrivals struct {
	all     int
	failing int // at the backend that fails now and then
}

// attempts counts what reached the backends, by the service that the caller named.
type attempts struct {
	mu sync.Mutex
	by map[string]arrivals
}

func (a *attempts) add(service string, at *backend) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = map[string]arrivals{}
	}
	n := a.by[service]
	n.all++
	if at.failEvery > 0 {
		n.failing++
	}
	a.by[service] = n
}

func (a *attempts) of(service string) arrivals {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.by[service]
}

func (b *backend) grpcServer(seen *attempts) *grpc.Server {
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		seen.add(metadata.ValueFromIncomingContext(ctx, ":authority")[0], b)
		if !b.serve(ctx) {
			return nil, status.Error(codes.Unavailable, "out of stock")
		}
		return next(ctx, req)
	}))
	shop.Register(s, "shop")
	return s
}

func (b *backend) httpServer(seen *attempts) *http.Server {
	next := shop.Handler("shop")
	return &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.add(r.Host, b)
		if !b.serve(r.Context()) {
			http.Error(w, "out of stock", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})}
}

// listen is on a free port: those of policy.yaml may be taken on this machine.
func listen() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
