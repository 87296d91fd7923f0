// Command client calls an HTTP service by its name in the mesh.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/weft-mesh/weft/mesh"
)

func main() {
	server := flag.String("xdsserver", "127.0.0.1:18000", "address of the control plane")
	flag.Parse()
	m, err := mesh.New(mesh.WithServer(*server, mesh.Plaintext()))
	if err != nil {
		log.Fatal(err)
	}
	client := m.HTTPClient()
	client.Timeout = 10 * time.Second
	resp, err := client.Get("http://shop/orders/7")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	name, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("order 7 comes from %s\n", name)
}
