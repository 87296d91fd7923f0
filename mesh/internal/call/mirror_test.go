package call

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-mesh/weft/internal/testleak"
	"github.com/weft-mesh/weft/resolver"
)

func TestMain(m *testing.M) { testleak.Main(m) }

// A copy has the timeout of its route, or else the adapter's, or none; and none outlives
// the mesh.
func TestMirrorContext(t *testing.T) {
	const otherwise = 15 * time.Second
	route := resolver.Route{Timeout: time.Second, GRPCTimeout: 2 * time.Second}
	for _, c := range []struct {
		name      string
		route     resolver.Route
		grpc      bool
		otherwise time.Duration
		want      time.Duration // 0 for none
	}{
		{"the route's", route, false, otherwise, time.Second},
		{"the route's of gRPC", route, true, otherwise, 2 * time.Second},
		{"a stream's", route, true, 0, 2 * time.Second},
		{"the adapter's", resolver.Route{}, false, otherwise, otherwise},
		{"none", resolver.Route{}, true, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			all := NewMirrors(slog.New(slog.DiscardHandler))
			m := &Mirror{all: all, Call: Call{routed: routed{route: &c.route}}}
			m.Call.Request.GRPC = c.grpc
			began := time.Now()
			ctx := m.Context(c.otherwise)
			defer m.cancel()
			if at, ok := ctx.Deadline(); ok != (c.want > 0) || ok && at.Sub(began) != c.want {
				t.Errorf("%s: a deadline after %v, %v; want %v", c.name, at.Sub(began), ok, c.want)
			}
			all.Close()
			if !errors.Is(ctx.Err(), context.Canceled) {
				t.Errorf("%s: when the mesh is closed the copy is not: %v", c.name, ctx.Err())
			}
		})
	}
}
