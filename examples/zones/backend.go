package main

import (
	"net"

	"google.golang.org/grpc"

	"github.com/weft-mesh/weft/examples/internal/shop"
)

// backend is a server that answers with its zone.
type backend struct {
	zone string
	addr string // it keeps the one of its first start

	server *grpc.Server
	done   chan struct{}
}

func (b *backend) start() error {
	addr := b.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	b.addr = l.Addr().String()
	b.server, b.done = grpc.NewServer(), make(chan struct{})
	shop.Register(b.server, b.zone)
	go func() {
		defer close(b.done)
		_ = b.server.Serve(l)
	}()
	return nil
}

// stop finishes the calls that there are. It may be called twice.
func (b *backend) stop() {
	b.server.GracefulStop()
	<-b.done
}
