// Command embedded calls a gRPC and an HTTP service by a policy that is part of the
// program: there is no control plane.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/weft-mesh/weft/examples/internal/shop"
	"github.com/weft-mesh/weft/mesh"
)

//go:embed policy.yaml
var policy string

func main() {
	log.SetFlags(0)
	if err := run(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(out io.Writer) error {
	grpcServer, httpServer := grpc.NewServer(), &http.Server{}
	defer grpcServer.Stop()
	defer httpServer.Close()
	shop.Register(grpcServer, "orders")
	httpServer.Handler = shop.Handler("shop")

	policy := policy
	// Backends for the policy's addresses, on whatever ports are free here.
	for planned, serve := range map[string]func(net.Listener) error{
		"127.0.0.1:9001": grpcServer.Serve,
		"127.0.0.1:9002": grpcServer.Serve,
		"127.0.0.1:9101": httpServer.Serve,
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		go func() { _ = serve(l) }()
		policy = strings.ReplaceAll(policy, planned, l.Addr().String())
	}

	m, err := mesh.New(mesh.WithPolicy([]byte(policy)))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(call(ctx, out, m), m.Close(ctx))
}

func call(ctx context.Context, out io.Writer, m *mesh.Mesh) error {
	conn, err := m.Dial("orders")
	if err != nil {
		return err
	}
	defer conn.Close()
	name, err := shop.Get(ctx, conn, "7")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "by gRPC, order 7 comes from %s\n", name)

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://shop/orders/7", nil)
	if err != nil {
		return err
	}
	resp, err := m.HTTPClient().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "by HTTP, order 7 comes from %s\n", body)
	return nil
}
