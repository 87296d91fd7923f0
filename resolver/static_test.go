package resolver_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/resolver"
	"github.com/weft-mesh/weft/resolver/xds"
)

// diary writes down what a watcher is told.
type diary struct {
	mu      sync.Mutex
	entries []string
}

func (d *diary) write(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, fmt.Sprintf(format, args...))
}

func (d *diary) ResourceChanged(r xds.Resource) { d.write("%s version %s", r.Name, r.Version) }
func (d *diary) ResourceError(err error) {
	d.write("gone, not found %t", errors.Is(err, xds.ErrNotFound))
}
func (d *diary) AmbientError(error) { d.write("ambient") }

func (d *diary) want(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if diff := cmp.Diff(want, d.entries); diff != "" {
		t.Errorf("the watcher was told (-want +got):\n%s", diff)
	}
	d.entries = nil
}

// versioned is resources with a version.
func versioned(version string, list ...proto.Message) map[string][]resolver.StaticResource {
	all := resources(list...)
	for _, list := range all {
		for i := range list {
			list[i].Version = version
		}
	}
	return all
}

func TestStatic(t *testing.T) {
	s := resolver.NewStatic(allTypes)
	var a, missing, late diary
	s.Watch(resolver.ClusterURL, "a", &a)
	s.Watch(resolver.ClusterURL, "missing", &missing)
	a.want(t) // nothing before the first Set
	set := func(resources map[string][]resolver.StaticResource, texts ...string) {
		t.Helper()
		err := s.Set(resources)
		if len(texts) > 0 {
			wantError(t, err, texts...)
		} else if err != nil {
			t.Error(err)
		}
	}
	bad := func(name string) *clusterv3.Cluster {
		c := edsCluster(name)
		c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
		return c
	}

	set(versioned("1", edsCluster("a")))
	a.want(t, "a version 1")
	missing.want(t, "gone, not found true")

	set(versioned("2", edsCluster("a"))) // the same bytes
	a.want(t)
	missing.want(t)

	set(versioned("3", bad("a"), edsCluster("b")), `Cluster "a"`, "lb_policy")
	a.want(t, "ambient")
	set(versioned("3", bad("a")), `Cluster "a"`) // still bad
	a.want(t)
	cancel := s.Watch(resolver.ClusterURL, "a", &late)
	late.want(t, "a version 1", "ambient")

	set(versioned("4", staticCluster("a", "192.0.2.1")))
	a.want(t, "a version 4")
	late.want(t, "a version 4")
	cancel()

	set(nil)
	a.want(t, "gone, not found true")
	late.want(t)
	missing.want(t)
	set(versioned("5", bad("a")), `Cluster "a"`)
	a.want(t, "gone, not found false")
	s.Watch(resolver.ClusterURL, "a", &late)
	late.want(t, "gone, not found false")
	s.Watch(resolver.ClusterURL, "never", &late)
	late.want(t, "gone, not found true")

	// What cannot be told apart is refused.
	twice := resources(edsCluster("a"), edsCluster("a"))
	set(twice, "two of this name")
	misnamed := resources(edsCluster("a"))
	misnamed[resolver.ClusterURL][0].Name = "b"
	set(misnamed, `Cluster "b"`, `its name is "a"`)
	set(map[string][]resolver.StaticResource{"x.example/Unknown": {{Name: "a"}}}, "x.example/Unknown", "not supported")
	set(map[string][]resolver.StaticResource{resolver.ClusterURL: {{Name: "a", Raw: []byte{0xff}}}}, `Cluster "a"`)
}

// A watcher may watch and cancel while it is told something.
func TestStaticWatchFromAWatcher(t *testing.T) {
	s := newStatic(t, edsCluster("a"), edsCluster("b"))
	var inner diary
	w := &reentrant{}
	w.f = func() { s.Watch(resolver.ClusterURL, "b", &inner)() }
	s.Watch(resolver.ClusterURL, "a", w)
	inner.want(t) // cancelled before it was told

	w.f = func() { s.Watch(resolver.ClusterURL, "b", &inner) }
	if err := s.Set(resources(staticCluster("a"), edsCluster("b"))); err != nil {
		t.Fatal(err)
	}
	inner.want(t, "b version 1")
}

type reentrant struct {
	diary
	f func()
}

func (r *reentrant) ResourceChanged(xds.Resource) { r.f() }

// Changes of a policy that is held in memory do not fail a pick, whatever they move.
func TestStaticPolicyChanges(t *testing.T) {
	scripted(t, func(t *testing.T, _ *script, _ *resolver.Resolver) {
		s := newStatic(t, simpleRoutes("8080", "c0"), edsCluster("c0"), assignment("c0", "192.0.2.1"))
		r := newResolver(t, s)
		defer r.Close()
		target := r.Target(resolver.TargetName{RouteConfig: "8080"})
		settle()
		stop, stopped := make(chan struct{}), make(chan error)
		go func() {
			for {
				select {
				case <-stop:
					stopped <- nil
					return
				default:
				}
				if _, err := pickEndpoint(t, target.Table()); err != nil {
					stopped <- err
					return
				}
			}
		}()
		for i := 1; i < 200; i++ {
			name := fmt.Sprint("c", i)
			c := edsCluster(name)
			if i%3 == 0 {
				c = staticCluster(name, "192.0.2.1")
			}
			list := []proto.Message{simpleRoutes("8080", name), c}
			if i%3 != 0 {
				list = append(list, assignment(name, fmt.Sprint("192.0.2.", i)))
			}
			if err := s.Set(resources(list...)); err != nil {
				t.Fatal(err)
			}
		}
		close(stop)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}
