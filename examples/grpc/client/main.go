// Command client calls a gRPC service by its name in the mesh.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"time"

	"github.com/weft-mesh/weft/examples/internal/shop"
	"github.com/weft-mesh/weft/mesh"
)

func main() {
	server := flag.String("xdsserver", "127.0.0.1:18000", "address of the control plane")
	flag.Parse()
	m, err := mesh.New(mesh.WithServer(*server, mesh.Plaintext()))
	if err != nil {
		log.Fatal(err)
	}
	conn, err := m.Dial("orders")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	name, err := shop.Get(ctx, conn, "7")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("order 7 comes from", name)
}
