package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/weft-mesh/weft/examples/internal/shop"
	"github.com/weft-mesh/weft/mesh"
)

//go:embed policy.yaml
var firstPolicy string

// stage is everything that the story needs, running.
type stage struct {
	backends []*backend
	control  *control
	mesh     *mesh.Mesh
	conn     *grpc.ClientConn
	load     *load
	serving  sync.WaitGroup
}

// backend is one server of the examples' service.
type backend struct {
	planned string // its address in policy.yaml
	version string
	addr    string
	stop    func()
}

func open(ctx context.Context) (*stage, error) {
	s := &stage{}
	for _, b := range []*backend{
		{planned: "127.0.0.1:9001", version: "v1"},
		{planned: "127.0.0.1:9002", version: "v1"},
		{planned: "127.0.0.1:9003", version: "v2"},
		{planned: "127.0.0.1:9101", version: "v1"},
		{planned: "127.0.0.1:9102", version: "v1"},
		{planned: "127.0.0.1:9103", version: "v2"},
	} {
		if err := s.start(b); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	// The ports of policy.yaml may be taken on this machine: the backends took any
	// that were free.
	policy := firstPolicy
	for _, b := range s.backends {
		policy = strings.ReplaceAll(policy, b.planned, b.addr)
	}
	var err error
	if s.control, err = startControl(policy); err != nil {
		return nil, errors.Join(err, s.close())
	}
	// This is all that a client program needs.
	s.mesh, err = mesh.New(mesh.WithServer(s.control.addr, mesh.Plaintext()), mesh.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.conn, err = s.mesh.Dial("orders"); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.load = startLoad(ctx, s.conn, s.mesh.HTTPClient())
	return s, nil
}

// start serves on a free port of loopback, by gRPC or by HTTP as the plan's port says.
func (s *stage) start(b *backend) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.addr = l.Addr().String()
	if strings.HasPrefix(b.planned, "127.0.0.1:90") {
		server := grpc.NewServer()
		shop.Register(server, b.version)
		s.serving.Go(func() { _ = server.Serve(l) })
		b.stop = server.GracefulStop
	} else {
		server := &http.Server{Handler: shop.Handler(b.version)}
		s.serving.Go(func() { _ = server.Serve(l) })
		b.stop = func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = server.Shutdown(ctx)
		}
	}
	s.backends = append(s.backends, b)
	return nil
}

// stopBackends shuts down the second backend of each kind.
func (s *stage) stopBackends() error {
	for _, b := range s.backends {
		if b.planned == "127.0.0.1:9002" || b.planned == "127.0.0.1:9102" {
			b.stop()
		}
	}
	return nil
}

// play makes a chapter happen and shows what became of the calls.
func (s *stage) play(ctx context.Context, out io.Writer, c chapter) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	began := time.Now()
	if c.routes != "" {
		if err := s.control.edit(c.routes); err != nil {
			return err
		}
	}
	if c.do != nil {
		if err := c.do(s); err != nil {
			return err
		}
	}
	if c.refused {
		refusal, err := s.control.refusal(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "   xdsserver: %s\n   The good policy stays.\n", strings.ReplaceAll(refusal, "\n", "\n              "))
	}
	if err := s.await(ctx, c); err != nil {
		return err
	}
	if c.routes != "" && !c.refused {
		fmt.Fprintf(out, "   In effect for both protocols %v after the file was written.\n", time.Since(began).Round(time.Millisecond))
	}
	s.load.reset()
	for _, g := range c.groups() {
		if err := s.show(ctx, out, g); err != nil {
			return err
		}
	}
	return nil
}

// counted is how many calls of each kind are looked at in a chapter.
const counted = 500

// await waits until calls of each group go as the chapter asks.
func (s *stage) await(ctx context.Context, c chapter) error {
	for _, g := range c.groups() {
		s.load.reset()
		err := until(ctx, func() bool {
			counts, total := s.load.seen(g.kinds...)
			if total < 20 {
				return false
			}
			same := sameVersions(counts, g.asked)
			if !same {
				s.load.reset()
			}
			return same
		})
		if err != nil {
			return fmt.Errorf("%s calls do not go as policy asks: %w", g.name, err)
		}
	}
	return nil
}

func sameVersions(counts map[string]int, asked map[string]float64) bool {
	for version := range asked {
		if counts[version] == 0 {
			return false
		}
	}
	return len(counts) == len(asked)
}

// show counts calls of a group and prints what was asked beside what was observed.
func (s *stage) show(ctx context.Context, out io.Writer, g group) error {
	var counts map[string]int
	var total int
	if err := until(ctx, func() bool {
		counts, total = s.load.seen(g.kinds...)
		return total >= counted
	}); err != nil {
		return err
	}
	fmt.Fprintf(out, "   %-18s", g.name)
	for _, version := range []string{"v1", "v2"} {
		fmt.Fprintf(out, "  %s: asked %3.0f %%, got %5.1f %%", version, g.asked[version], 100*float64(counts[version])/float64(total))
	}
	fmt.Fprintf(out, "  of %d calls\n", total)
	return nil
}

// until waits for a condition on calls that flow.
func until(ctx context.Context, holds func() bool) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

func (s *stage) close() error {
	var errs []error
	if s.load != nil {
		s.load.stop()
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	if s.mesh != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		errs = append(errs, s.mesh.Close(ctx))
		cancel()
	}
	if s.control != nil {
		errs = append(errs, s.control.close())
	}
	for _, b := range s.backends {
		b.stop()
	}
	s.serving.Wait()
	return errors.Join(errs...)
}
