// Command canary brings out a new version of a service by a policy file that it rewrites
// step by step, from 1 % of the calls to all of them, and takes it back when the new
// version fails more calls than it may. What it goes by is what its own calls see: there
// is no control plane, and nothing to ask but the calls.
//
//	go run ./examples/canary         # a good version
//	go run ./examples/canary -bad    # one that fails every fifth call
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-mesh/weft/examples/internal/shop"
	"github.com/weft-mesh/weft/mesh"
)

//go:embed policy.yaml
var firstPolicy string

func main() {
	bad := flag.Bool("bad", false, "bring out a version that fails every fifth call")
	flag.Parse()
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if _, err := run(ctx, os.Stdout, *bad); err != nil {
		log.Fatal("canary: ", err)
	}
}

// run brings out v2, and tells whether it stayed.
func run(ctx context.Context, out io.Writer, bad bool) (promoted bool, err error) {
	var serving sync.WaitGroup
	defer serving.Wait()
	policy := firstPolicy
	for planned, handler := range map[string]http.Handler{
		"127.0.0.1:9101": shop.Handler("v1"),
		"127.0.0.1:9102": failing(shop.Handler("v2"), bad),
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0") // the planned port may be taken
		if err != nil {
			return false, err
		}
		server := &http.Server{Handler: handler}
		serving.Go(func() { _ = server.Serve(l) })
		defer server.Close()
		policy = strings.ReplaceAll(policy, planned, l.Addr().String())
	}
	file, err := newPolicyFile(policy)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.remove()) }()

	// This is all that a client program needs.
	m, err := mesh.New(mesh.WithPolicyFile(file.path), mesh.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return false, err
	}
	calls := startCalls(ctx, m.HTTPClient())
	promoted, err = (&rollout{file: file, calls: calls, out: out}).run(ctx)
	total := calls.stop()
	fmt.Fprintf(out, "%d calls in all, %d failed: %.2f %%.\n", total.calls, total.failed, total.rate())

	closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return promoted, errors.Join(err, m.Close(closing))
}

// failing is a version that fails every fifth call, if it is bad.
func failing(h http.Handler, bad bool) http.Handler {
	var n atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if bad && n.Add(1)%5 == 0 {
			http.Error(w, "out of stock", http.StatusInternalServerError)
			return
		}
		h.ServeHTTP(w, r)
	})
}
