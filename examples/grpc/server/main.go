// Command server is a gRPC server as any other: a mesh asks nothing of it.
package main

import (
	"flag"
	"log"
	"net"

	"google.golang.org/grpc"

	"github.com/weft-mesh/weft/examples/internal/shop"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9001", "address to serve on")
	flag.Parse()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer()
	shop.Register(s, "orders")
	log.Printf("serving on %s", l.Addr())
	log.Fatal(s.Serve(l))
}
