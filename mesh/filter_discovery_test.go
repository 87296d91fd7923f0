package mesh_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// discovers is a filter whose configuration is a resource of its own.
func discovers(fields string, more ...string) string {
	return `{name: a, configDiscovery: {configSource: {ads: {}}` + fields + `}` + strings.Join(append([]string{""}, more...), ", ") + `}`
}

// extension is the configuration of the filter "a" as a resource.
func extension(config string) string {
	return `  - {"@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig, name: a, typedConfig: ` + config + "}\n"
}

// TestFilterDiscovery has configurations of filters come as resources of their own
// (row R12, gRFC A104).
func TestFilterDiscovery(t *testing.T) {
	const types = `typeUrls: [example.com/weft.test.Stamp]`
	mark := func(m string) string { return extension(stampConfig(`mark: ` + m)) }
	for _, test := range []struct {
		name     string
		filter   string
		resource string
		want     []string // marks
		fails    string
	}{
		{"found", discovers(", " + types), mark("e"), []string{"e"}, ""},
		{"found, with a default", discovers(", applyDefaultConfigWithoutWarming: true, defaultConfig: " + stampConfig(`mark: d`) + ", " + types), mark("e"), []string{"e"}, ""},
		{"missing, with a default", discovers(", defaultConfig: " + stampConfig(`mark: d`) + ", " + types), "", []string{"d"}, ""},
		{"missing, with a default at once", discovers(", applyDefaultConfigWithoutWarming: true, defaultConfig: " + stampConfig(`mark: d`) + ", " + types), "", []string{"d"}, ""},
		{"missing", discovers(", " + types), "", nil, `filter "a": no configuration`},
		{"missing and optional", discovers(", "+types, "isOptional: true"), "", nil, ""},
		{"missing and disabled", discovers(", "+types, "disabled: true"), "", nil, ""},
		{"of another type", discovers(", typeUrls: [example.com/weft.test.Other]"), mark("e"), nil, "which the listener does not allow"},
		{"of another type and optional", discovers(", typeUrls: [example.com/weft.test.Other]", "isOptional: true"), mark("e"), nil, ""},
		{"of another type, with a default", discovers(", typeUrls: [example.com/weft.test.Other], defaultConfig: " + stampConfig(`mark: d`)), mark("e"), []string{"d"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				cp := meshtest.NewControlPlane(t)
				cp.Apply(filtering(p.service("back", echoBackend(t, p)), []string{test.filter}, levels("", "", "", "")) + test.resource)
				m := cp.Mesh(mesh.WithFilter(stamps(&ends{})))
				if strings.Contains(test.filter, "WithoutWarming") && test.resource != "" {
					eventuallyMarked(t, m, p, test.want) // the default may come first
					return
				}
				got, err := echo(t, m, p, "front", "/shop.Orders/Get", nil)
				switch {
				case test.fails == "" && (err != nil || !slices.Equal(got.Header["x-mark"], test.want)):
					t.Errorf("marks %v, %v; want %v", got.Header["x-mark"], err, test.want)
				case test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails) || !errors.Is(err, mesh.ErrNoRoute) && status.Code(err) != codes.Unavailable):
					t.Errorf("the call ended with %v, want %s", err, test.fails)
				}
			})
		})
	}
}

// eventuallyMarked waits until calls have these marks.
func eventuallyMarked(t *testing.T, m *mesh.Mesh, p protocol, want []string) {
	t.Helper()
	deadline := time.Now().Add(long)
	for {
		got, err := echo(t, m, p, "front", "/shop.Orders/Get", nil)
		if err == nil && slices.Equal(got.Header["x-mark"], want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("marks %v, %v; want %v", got.Header["x-mark"], err, want)
		}
	}
}

// TestFilterDiscoveryChanges has such a resource change, turn bad, go away and come
// back, under load: no call fails.
func TestFilterDiscoveryChanges(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		cp := meshtest.NewControlPlane(t)
		backend := echoBackend(t, p)
		policy := func(fields, resource string) string {
			return filtering(p.service("back", backend), []string{discovers(fields + ", typeUrls: [example.com/weft.test.Stamp], defaultConfig: " + stampConfig(`mark: d`))}, levels("", "", "", "")) + resource
		}
		cp.Apply(policy("", extension(stampConfig(`mark: a`))))
		m := cp.Mesh(mesh.WithFilter(stamps(&ends{})))
		eventuallyMarked(t, m, p, []string{"a"})
		l := startLoad(t, 2, p.client(t, m, "front"), request{})
		cp.Apply(policy("", extension(stampConfig(`mark: b`))))
		eventuallyMarked(t, m, p, []string{"b"})
		cp.Apply(policy("", extension(stampConfig(`bad: true`)))) // refused
		l.await(10)
		cp.Apply(policy("", "")) // the last good one stays (gRFC A88)
		l.await(10)
		if got, err := echo(t, m, p, "front", "/shop.Orders/Get", nil); err != nil || !slices.Equal(got.Header["x-mark"], []string{"b"}) {
			t.Errorf("marks %v, %v; want those of the last good configuration", got.Header["x-mark"], err)
		}
		cp.Apply(policy("", extension(stampConfig(`mark: c`))))
		eventuallyMarked(t, m, p, []string{"c"})
		l.end(t)
	})
}
