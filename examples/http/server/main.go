// Command server is an HTTP server as any other: a mesh asks nothing of it.
package main

import (
	"flag"
	"log"
	"net"
	"net/http"

	"github.com/weft-mesh/weft/examples/internal/shop"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9101", "address to serve on")
	flag.Parse()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("serving on %s", l.Addr())
	log.Fatal(http.Serve(l, shop.Handler("shop")))
}
