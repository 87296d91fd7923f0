package mesh_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/weft-mesh/weft/mesh"
)

// turns counts what breakers and outlier detection do while a run lasts: it is where the
// mesh logs to.
type turns struct {
	mu                     sync.Mutex
	opened, probed, closed [2]int // breakers of endpoints, and of clusters
	ejected, returned      int    // endpoints
}

func (t *turns) Enabled(context.Context, slog.Level) bool { return true }
func (t *turns) WithAttrs([]slog.Attr) slog.Handler       { return t }
func (t *turns) WithGroup(string) slog.Handler            { return t }

// Handle counts a breaker's change.
func (t *turns) Handle(_ context.Context, r slog.Record) error {
	state, of := strings.CutPrefix(r.Message, "breaker is ")
	if !of {
		return nil
	}
	whose := 1
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "endpoint" {
			whose = 0
		}
		return true
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	switch state {
	case "open":
		t.opened[whose]++
	case "half-open":
		t.probed[whose]++
	case "closed":
		t.closed[whose]++
	}
	return nil
}

// watchEjections looks now and then which endpoints are ejected, for d.
func (t *turns) watchEjections(m *mesh.Mesh, d time.Duration) {
	out := map[string]bool{}
	for ends := time.Now().Add(d); time.Now().Before(ends); pause(context.Background(), nil, 50*time.Millisecond) {
		for _, target := range []string{"all-grpc", "all-http", "all-h2c"} {
			now := map[string]bool{}
			for _, address := range ejected(m, target) {
				if now[target+address] = true; !out[target+address] {
					out[target+address] = true
					t.ejected++
				}
			}
			for e := range out {
				if strings.HasPrefix(e, target) && !now[e] {
					delete(out, e)
					t.returned++
				}
			}
		}
	}
}
