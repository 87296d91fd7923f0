package mesh_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
	"github.com/weft-mesh/weft/resolver"
	"github.com/weft-mesh/weft/resolver/xds"
	"github.com/weft-mesh/weft/resolver/xds/bootstrap"
	"github.com/weft-mesh/weft/resolver/xds/grpctransport"
)

// recordings are what testdata/istio holds, with the number of their resources.
var recordings = map[string]int{"grpc": 12, "sidecar": 28}

// TestIstioResources has the wire client accept every recorded resource, those that
// no target needs included: a sidecar's listeners, and the clusters behind them.
func TestIstioResources(t *testing.T) {
	for recording, size := range recordings {
		t.Run(recording, func(t *testing.T) {
			eachADS(t, func(t *testing.T, form string, everything bool) {
				cp := newReplay(t, recording, everything)
				client := wireClient(t, cp, form)
				var all []*arrival
				for url, resources := range cp.resources {
					for _, r := range resources {
						a := &arrival{name: url + " " + r.name, news: make(chan error, 1)}
						client.Watch(url, r.name, a)
						all = append(all, a)
					}
				}
				ctx := within(t, long)
				for _, a := range all {
					select {
					case err := <-a.news:
						if err != nil {
							t.Errorf("%s: %v", a.name, err)
						}
					case <-ctx.Done():
						t.Fatalf("%s did not come", a.name)
					}
				}
				if len(all) != size {
					t.Errorf("%d resources were recorded, want %d", len(all), size)
				}
				cp.introduced(t, resolver.ClusterURL, resolver.EndpointsURL, resolver.ListenerURL, resolver.RouteConfigURL)
			})
		})
	}
}

// wireClient is the client that a mesh has under its tables.
func wireClient(t *testing.T, cp *replay, form string) *xds.Client {
	t.Helper()
	config, err := bootstrap.Parse(cp.bootstrap(t, map[string]any{"weft": map[string]any{"ads": form}}))
	if err != nil {
		t.Fatal(err)
	}
	c := config.Client()
	c.Types = resolver.Types(resolver.TypesConfig{})
	c.Transport = grpctransport.Builder{}
	client, err := xds.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// arrival is the watcher of one resource. It passes on the first it is told.
type arrival struct {
	name string
	news chan error
}

func (a *arrival) ResourceChanged(xds.Resource) { a.tell(nil) }
func (a *arrival) ResourceError(err error)      { a.tell(err) }
func (a *arrival) AmbientError(err error)       { a.tell(err) }

func (a *arrival) tell(err error) {
	select {
	case a.news <- err:
	default:
	}
}

// TestIstioWarnings has the mesh say, once each, which recorded fields it does not
// act on. A field that is acted on from now on leaves its list.
func TestIstioWarnings(t *testing.T) {
	for _, c := range []struct {
		recording string
		more      map[string]any
		want      []string
	}{
		{"grpc", nil, nil},
		{"sidecar", sidecarMode("delta", istioSecrets(t, testca.New(t, "istio"))), []string{
			"Cluster filters", // which tell other sidecars who is calling, for telemetry
		}},
	} {
		t.Run(c.recording, func(t *testing.T) {
			t.Parallel()
			cp := newReplay(t, c.recording, true)
			log := &warnings{}
			m := meshtest.New(t, mesh.WithLogger(slog.New(log)), mesh.WithBootstrap(cp.bootstrap(t, c.more)))
			if err := m.Ready(within(t, long), "echo.mesh.local:7070", "echo.mesh.local:8080"); err != nil {
				t.Fatal(err)
			}
			cp.settle(t)
			if diff := cmp.Diff(c.want, log.sorted()); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

// warnings is a slog.Handler that keeps the fields that the mesh warned about.
type warnings struct {
	mu     sync.Mutex
	fields []string
}

func (w *warnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (w *warnings) WithAttrs([]slog.Attr) slog.Handler           { return w }
func (w *warnings) WithGroup(string) slog.Handler                { return w }

func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	var kind, field string
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "type":
			kind = a.Value.String()
		case "field":
			field = a.Value.String()
		}
		return true
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if kind == "" {
		w.fields = append(w.fields, r.Message) // about something else
	} else {
		w.fields = append(w.fields, kind+" "+field)
	}
	return nil
}

func (w *warnings) sorted() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(slices.Values(w.fields))
}
