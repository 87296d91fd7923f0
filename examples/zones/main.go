// Command zones shows calls that stay in their caller's zone: as far as the zone has
// the endpoints for them, and as long as it is there. It is a caller in zone a, and
// four backends in zones a and b that it stops and starts while it calls.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
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
		log.Fatal("zones: ", err)
	}
}

// chapters are what happens, and where calls then go, in percent.
var chapters = []struct {
	title string
	do    func(zoneA []*backend) error
	here  int // of the calls
}{
	{"All four backends run: zone a has half of them, and half of the callers.", nil, 100},
	{"One of the two in zone a stops: a third of the backends is left for half of the callers.",
		func(a []*backend) error { a[0].stop(); return nil }, 67},
	{"So does the other: zone a is gone.", func(a []*backend) error { a[1].stop(); return nil }, 0},
	{"Zone a is back.", func(a []*backend) error { return errors.Join(a[0].start(), a[1].start()) }, 100},
}

func run(out io.Writer) error {
	var backends []*backend
	policy := policy
	for i, zone := range []string{"a", "a", "b", "b"} {
		b := &backend{zone: zone}
		if err := b.start(); err != nil {
			return err
		}
		defer b.stop()
		backends = append(backends, b)
		// The ports of policy.yaml may be taken on this machine.
		policy = strings.ReplaceAll(policy, fmt.Sprintf("127.0.0.1:900%d", i+1), b.addr)
	}

	// The process says where it is, and whose endpoint: it is one of those of web.
	m, err := mesh.New(mesh.WithPolicy([]byte(policy)), mesh.WithLocality(mesh.Locality{Zone: "a"}, "web"),
		mesh.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	conn, err := m.Dial("orders")
	if err != nil {
		return err
	}
	c := &caller{conn: conn}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(tell(ctx, out, c, backends[:2]), conn.Close(), m.Close(ctx))
}

// tell has the chapters happen while calls go on.
func tell(ctx context.Context, out io.Writer, c *caller, zoneA []*backend) error {
	for i, chapter := range chapters {
		if chapter.do != nil {
			if err := chapter.do(zoneA); err != nil {
				return err
			}
		}
		got, err := c.await(ctx, chapter.here)
		if err != nil {
			return fmt.Errorf("%s: %w", chapter.title, err)
		}
		fmt.Fprintf(out, "%d. %s\n   calls that stay in zone a: %d %%, those that go to zone b: %d %%\n", i+1, chapter.title, got, 100-got)
	}
	fmt.Fprintf(out, "%d calls, 0 failed\n", c.calls)
	return nil
}

// caller makes calls and looks at where they go.
type caller struct {
	conn  *grpc.ClientConn
	calls int
}

// await calls until so many percent of a few hundred calls stay in zone a, give or take
// one, and returns how many do. No call may fail meanwhile.
func (c *caller) await(ctx context.Context, here int) (percent int, err error) {
	const some = 300
	for {
		stay := 0
		for range some {
			zone, err := shop.Get(ctx, c.conn, "7")
			if err != nil {
				return 0, fmt.Errorf("after %d calls: %w", c.calls, err)
			}
			c.calls++
			if zone == "a" {
				stay++
			}
		}
		percent = (100*stay + some/2) / some
		if percent >= here-1 && percent <= here+1 {
			return percent, nil
		}
	}
}
