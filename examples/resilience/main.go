// Command resilience calls three backends, of which one fails now and then and one is
// slow now and then, with and without a policy that tries again and leaves out what mostly
// fails, and prints what the callers see of it side by side, for gRPC and for HTTP.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/weft-mesh/weft/examples/internal/shop"
	"github.com/weft-mesh/weft/mesh"
)

//go:embed policy.yaml
var policy string

func main() {
	log.SetFlags(0)
	if _, err := run(os.Stdout); err != nil {
		log.Fatal("resilience: ", err)
	}
}

// column is a load that is printed beside the others.
type column struct {
	title, service string
	result
	arrivals
}

func run(out io.Writer) ([]column, error) {
	var serving sync.WaitGroup
	defer serving.Wait()
	seen := &attempts{}
	policy := policy
	for i, b := range shopBackends() {
		byGRPC, err := listen()
		if err != nil {
			return nil, err
		}
		byHTTP, err := listen()
		if err != nil {
			return nil, errors.Join(err, byGRPC.Close())
		}
		policy = strings.NewReplacer(
			fmt.Sprintf("127.0.0.1:900%d", i+1), byGRPC.Addr().String(),
			fmt.Sprintf("127.0.0.1:910%d", i+1), byHTTP.Addr().String()).Replace(policy)
		grpcServer, httpServer := b.grpcServer(seen), b.httpServer(seen)
		serving.Go(func() { _ = grpcServer.Serve(byGRPC) })
		serving.Go(func() { _ = httpServer.Serve(byHTTP) })
		defer grpcServer.Stop()
		defer httpServer.Close()
	}

	m, err := mesh.New(mesh.WithPolicy([]byte(policy)), mesh.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	columns := []column{
		{title: "gRPC", service: "orders-plain"}, {title: "with policy", service: "orders"},
		{title: "HTTP", service: "shop-plain"}, {title: "with policy", service: "shop"},
	}
	err = call(ctx, m, columns)
	if err == nil {
		for i := range columns {
			columns[i].arrivals = seen.of(columns[i].service)
		}
		err = table(out, columns)
	}
	return columns, errors.Join(err, m.Close(ctx))
}

// call puts the loads of both protocols on the backends, one after another.
func call(ctx context.Context, m *mesh.Mesh, columns []column) error {
	client := m.HTTPClient()
	defer client.CloseIdleConnections()
	for i := range columns {
		c := &columns[i]
		one := func(ctx context.Context) error { return get(ctx, client, c.service) }
		if strings.HasPrefix(c.service, "orders") {
			conn, err := m.Dial(c.service)
			if err != nil {
				return err
			}
			defer conn.Close()
			one = func(ctx context.Context) error {
				_, err := shop.Get(ctx, conn, "7")
				return err
			}
		}
		c.result = load(ctx, one)
	}
	return nil
}

func get(ctx context.Context, client *http.Client, service string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+service+"/orders/7", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}

// table prints the columns side by side.
func table(out io.Writer, columns []column) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	row := func(name string, cell func(c column) string) {
		fmt.Fprint(w, name, "\t")
		for _, c := range columns {
			fmt.Fprint(w, cell(c), "\t")
		}
		fmt.Fprintln(w)
	}
	row("", func(c column) string { return c.title })
	row("calls", func(c column) string { return fmt.Sprint(c.calls) })
	row("failed", func(c column) string { return fmt.Sprintf("%.1f %%", 100*float64(c.failed)/float64(c.calls)) })
	row("median", func(c column) string { return c.quantile(50).String() })
	row("99 % within", func(c column) string { return c.quantile(99).String() })
	row("attempts a call", func(c column) string { return fmt.Sprintf("%.2f", float64(c.all)/float64(c.calls)) })
	row("at the failing one", func(c column) string { return fmt.Sprintf("%.0f %%", 100*float64(c.failing)/float64(c.all)) })
	return w.Flush()
}
