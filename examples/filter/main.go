// Command filter has a filter of the program's own sign its requests, gRPC and HTTP,
// where policy says so and with the key that policy names.
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
	keys := map[string][]byte{"web": []byte("a secret"), "admin": []byte("another")}
	grpcServer, httpServer := grpcBackend(keys), &http.Server{Handler: httpBackend(keys)}
	defer grpcServer.Stop()
	defer httpServer.Close()

	policy := policy
	// Backends for the policy's addresses, on whatever ports are free here.
	for planned, serve := range map[string]func(net.Listener) error{
		"127.0.0.1:9001": grpcServer.Serve,
		"127.0.0.1:9101": httpServer.Serve,
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		go func() { _ = serve(l) }()
		policy = strings.ReplaceAll(policy, planned, l.Addr().String())
	}

	m, err := mesh.New(mesh.WithPolicy([]byte(policy)), mesh.WithFilter(signing(keys)))
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
	found, err := shop.Get(ctx, conn, "7")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "gRPC, any method: %s\n", found)

	for _, path := range []string{"/orders/7", "/admin/orders/7", "/public/about"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://shop"+path, nil)
		if err != nil {
			return err
		}
		resp, err := m.HTTPClient().Do(req)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return err
		}
		fmt.Fprintf(out, "HTTP, %s: %s\n", path, body)
	}
	return nil
}
