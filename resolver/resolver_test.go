package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resolver"
	"github.com/weft-mesh/weft/resolver/xds"
)

// scripted runs a test with a resolver whose source it scripts, in a bubble of time.
func scripted(t *testing.T, test func(t *testing.T, s *script, r *resolver.Resolver)) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		r, err := resolver.New(resolver.Config{
			Source: s,
			Logger: slog.New(slog.DiscardHandler),
			NewCluster: func(name string) *balancer.Cluster {
				return balancer.NewCluster(name, balancer.ClusterOptions{Resolver: fixedDNS{}})
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		test(t, s, r)
	})
}

// settle waits until the resolver has done what it can.
func settle() { synctest.Wait() }

// orders brings a target to its first table: listener and routes "orders", EDS
// cluster "a" with one endpoint.
func orders(t *testing.T, s *script, r *resolver.Resolver) *resolver.Target {
	t.Helper()
	target := r.Target(resolver.TargetName{Listener: "orders"})
	settle()
	s.send(apiListener("orders", "orders"))
	settle()
	s.send(simpleRoutes("orders", "a"))
	settle()
	s.send(edsCluster("a"))
	settle()
	s.send(assignment("a", "192.0.2.1"))
	settle()
	if target.Table() == nil {
		t.Fatal("there is no table")
	}
	return target
}

func wantEndpoint(t *testing.T, target *resolver.Target, want string) {
	t.Helper()
	got, err := pickEndpoint(t, target.Table())
	if err != nil || got != want+":80" {
		t.Errorf("picked %q, %v; want %s:80", got, err, want)
	}
}

func wantPickError(t *testing.T, target *resolver.Target, texts ...string) {
	t.Helper()
	_, err := pickEndpoint(t, target.Table())
	wantError(t, err, texts...)
}

func wantWatched(t *testing.T, s *script, want ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), s.watched()); diff != "" {
		t.Errorf("watched (-want +got):\n%s", diff)
	}
}

func TestFirstTable(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := r.Target(resolver.TargetName{Listener: "orders"})
		awaits := func(texts ...string) {
			t.Helper()
			settle()
			if target.Table() != nil {
				t.Fatal("there is a table already")
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := target.Await(ctx)
			wantError(t, err, append(texts, `listener "orders": waiting for `)...)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v does not wrap the context's error", err)
			}
		}
		awaits(`waiting for listener "orders"`)
		s.fail("Listener orders", xds.ErrUnavailable)
		awaits(`waiting for listener "orders" (xds: Listener "orders": unavailable)`)
		s.send(apiListener("orders", "routes"))
		awaits(`waiting for route configuration "routes"`)
		rc := simpleRoutes("routes", "a")
		rc.VirtualHosts[0].Routes = append(rc.VirtualHosts[0].Routes, simpleRoutes("routes", "b").VirtualHosts[0].Routes...)
		s.send(rc)
		awaits(`waiting for cluster "a", cluster "b"`)
		s.fail("Cluster a", xds.ErrUnavailable)
		awaits(`cluster "a" (xds: Cluster "a": unavailable)`)
		s.send(edsCluster("a"))
		awaits(`waiting for endpoints "a" of cluster "a", cluster "b"`)
		s.send(edsCluster("b"))
		awaits(`endpoints "b" of cluster "b"`)
		s.send(assignment("a", "192.0.2.1"))
		awaits(`waiting for endpoints "b"`)

		// The wait ends with the table.
		awaited := make(chan *resolver.Table)
		go func() {
			table, err := target.Await(t.Context())
			if err != nil {
				t.Error(err)
			}
			awaited <- table
		}()
		settle()
		s.send(assignment("b", "192.0.2.2"))
		if table := <-awaited; table != target.Table() || table.Version() != 1 {
			t.Errorf("awaited %v, the table is %v", table, target.Table())
		}
		wantEndpoint(t, target, "192.0.2.1")
		wantWatched(t, s, "Cluster a", "Cluster b", "ClusterLoadAssignment a", "ClusterLoadAssignment b", "Listener orders", "RouteConfiguration routes")
	})
}

// A change of endpoints goes to the cluster alone.
func TestEndpointsChangeWithoutATable(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := orders(t, s, r)
		s.send(assignment("a", "192.0.2.9"))
		settle()
		wantEndpoint(t, target, "192.0.2.9")
		s.send(edsCluster("a"))
		settle()
		if v := target.Table().Version(); v != 1 {
			t.Errorf("there is table %d", v)
		}
	})
}

// A route is published only when its cluster has endpoints, and the cluster it had
// before works until then, even if it is deleted.
func TestMakeBeforeBreak(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := orders(t, s, r)
		s.send(simpleRoutes("orders", "b"))
		s.fail("Cluster a", xds.ErrNotFound)
		for _, step := range []func(){
			func() {},
			func() { s.send(edsCluster("b")) },
			func() { s.fail("ClusterLoadAssignment a", xds.ErrNotFound) },
		} {
			step()
			settle()
			wantEndpoint(t, target, "192.0.2.1")
		}
		s.send(assignment("b", "192.0.2.2"))
		settle()
		wantEndpoint(t, target, "192.0.2.2")
		wantWatched(t, s, "Cluster b", "ClusterLoadAssignment b", "Listener orders", "RouteConfiguration orders")
	})
}

// The same in one burst, with the deletion first.
func TestMakeBeforeBreakInABurst(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := orders(t, s, r)
		var failures int
		cancel := target.Subscribe(func(table *resolver.Table) {
			if _, err := pickEndpoint(t, table); err != nil {
				failures++
			}
		})
		defer cancel()
		release := hold(target)
		s.fail("Cluster a", xds.ErrNotFound)
		s.send(simpleRoutes("orders", "b"))
		release()
		settle()
		wantEndpoint(t, target, "192.0.2.1")
		s.send(edsCluster("b"))
		settle()
		s.send(assignment("b", "192.0.2.2"))
		settle()
		wantEndpoint(t, target, "192.0.2.2")
		if failures > 0 {
			t.Errorf("%d of the tables had no endpoints", failures)
		}
	})
}

// hold stops the resolver's goroutine, so that what comes is one burst.
func hold(target *resolver.Target) (release func()) {
	held, released := make(chan struct{}), make(chan struct{})
	cancel := target.Subscribe(func(*resolver.Table) {
		select {
		case <-held:
		default:
			close(held)
			<-released
		}
	})
	<-held
	return func() { close(released); cancel() }
}

// A deletion that no new table answers takes the endpoints away.
func TestDeletedCluster(t *testing.T) {
	for _, key := range []string{"Cluster a", "ClusterLoadAssignment a"} {
		scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
			target := orders(t, s, r)
			s.fail(key, xds.ErrNotFound)
			settle()
			wantPickError(t, target, `cluster "a"`, key[:7], "does not exist")
			s.send(edsCluster("a"))
			settle()
			s.send(assignment("a", "192.0.2.3"))
			settle()
			wantEndpoint(t, target, "192.0.2.3")
			if v := target.Table().Version(); v != 1 {
				t.Errorf("there is table %d", v)
			}
		})
	}
}

// A deferred deletion takes effect when the new table turns out to need the cluster.
func TestDeferredDeletion(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := orders(t, s, r)
		s.send(simpleRoutes("orders", "b"))
		settle()
		s.fail("Cluster a", xds.ErrNotFound)
		settle()
		wantEndpoint(t, target, "192.0.2.1")
		s.send(simpleRoutes("orders", "a"))
		settle()
		wantPickError(t, target, `Cluster "a"`, "does not exist")
	})
}

// While it is not known yet what the next table is made of, deletions wait too.
func TestDeletionWhileRoutesAreUnknown(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := orders(t, s, r)
		s.send(apiListener("orders", "other"))
		settle()
		s.fail("Cluster a", xds.ErrNotFound)
		settle()
		wantEndpoint(t, target, "192.0.2.1")
		s.send(simpleRoutes("other", "b"))
		settle()
		s.send(edsCluster("b"))
		settle()
		wantEndpoint(t, target, "192.0.2.1")
		s.send(assignment("b", "192.0.2.2"))
		settle()
		wantEndpoint(t, target, "192.0.2.2")
	})
}

// A cluster that was ready when the table began to wait must still be when it ends.
func TestClusterThatIsNoLongerReady(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := r.Target(resolver.TargetName{RouteConfig: "8080"})
		settle()
		rc := simpleRoutes("8080", "a")
		rc.VirtualHosts[0].Routes = append(rc.VirtualHosts[0].Routes, simpleRoutes("", "b").VirtualHosts[0].Routes...)
		s.send(rc)
		settle()
		s.send(edsCluster("a"), edsCluster("b"))
		settle()
		s.send(assignment("a", "192.0.2.1"))
		settle()
		renamed := edsCluster("a")
		renamed.EdsClusterConfig.ServiceName = "s"
		s.send(renamed)
		settle()
		s.send(assignment("b", "192.0.2.2"))
		settle()
		if target.Table() != nil {
			t.Error("published without the endpoints that the cluster has now")
		}
		s.send(assignment("s", "192.0.2.3"))
		settle()
		wantEndpoint(t, target, "192.0.2.3")
	})
}

// News that were on their way when their watch was cancelled come to nothing.
func TestLateNews(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := orders(t, s, r)
		late := s.watchers("ClusterLoadAssignment a")[0]
		target.Release()
		settle()
		_, value, err := decoderOf(t, allTypes, resolver.EndpointsURL)(marshal(assignment("a", "192.0.2.66")))
		if err != nil {
			t.Fatal(err)
		}
		late.ResourceChanged(xds.Resource{Name: "a", Value: value})
		late.ResourceError(xds.ErrNotFound)
		settle()
		wantEndpoint(t, target, "192.0.2.1")
	})
}

// A newer update takes the place of one that still waits for its clusters.
func TestSupersededTable(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := orders(t, s, r)
		s.send(simpleRoutes("orders", "b"))
		settle()
		s.send(simpleRoutes("orders", "c"))
		settle()
		wantWatched(t, s, "Cluster a", "Cluster c", "ClusterLoadAssignment a", "Listener orders", "RouteConfiguration orders")
		s.send(edsCluster("c"))
		settle()
		s.send(assignment("c", "192.0.2.3"))
		settle()
		wantEndpoint(t, target, "192.0.2.3")
		if v := target.Table().Version(); v != 2 {
			t.Errorf("table %d, want 2", v)
		}
	})
}

// Back to what is published, the pending table is dropped.
func TestUpdateAndBack(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := orders(t, s, r)
		s.send(apiListener("orders", "other"))
		settle()
		wantWatched(t, s, "Cluster a", "ClusterLoadAssignment a", "Listener orders", "RouteConfiguration other")
		s.send(apiListener("orders", "orders"))
		settle()
		s.send(simpleRoutes("orders", "a"))
		settle()
		wantEndpoint(t, target, "192.0.2.1")
		wantWatched(t, s, "Cluster a", "ClusterLoadAssignment a", "Listener orders", "RouteConfiguration orders")
	})
}

// Without listener or routes there is a table that says so.
func TestErrorTable(t *testing.T) {
	for _, key := range []string{"Listener orders", "RouteConfiguration orders"} {
		scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
			target := orders(t, s, r)
			s.fail(key, xds.ErrNotFound)
			settle()
			table := target.Table()
			_, err := table.Route(&resolver.Request{Path: "/"})
			wantError(t, err, `"orders"`, "does not exist")
			if !errors.Is(err, xds.ErrNotFound) || !errors.Is(table.Err(), xds.ErrNotFound) {
				t.Errorf("%v is not ErrNotFound", err)
			}
			if n := len(table.Clusters()); n != 0 {
				t.Errorf("the table has %d clusters", n)
			}
			s.fail(key, xds.ErrNotFound) // again
			settle()
			if target.Table() != table {
				t.Error("the same error made another table")
			}
			s.send(apiListener("orders", "orders"))
			settle()
			s.send(simpleRoutes("orders", "a"), edsCluster("a"))
			settle()
			s.send(edsCluster("a"), assignment("a", "192.0.2.4"))
			settle()
			s.send(assignment("a", "192.0.2.4"))
			settle()
			wantEndpoint(t, target, "192.0.2.4")
		})
	}
}

// A server that cannot be reached, or that sends something bad, changes nothing.
func TestAmbientErrors(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := orders(t, s, r)
		for _, key := range s.watched() {
			for _, w := range s.watchers(key) {
				w.AmbientError(errors.New("refused"))
				w.ResourceError(&xds.Error{Type: "T", Name: "n", Kind: xds.ErrUnavailable})
			}
		}
		settle()
		wantEndpoint(t, target, "192.0.2.1")
		if v := target.Table().Version(); v != 1 {
			t.Errorf("there is table %d", v)
		}
	})
}

// Targets share clusters; the last one to need a cluster lets it go, after a while.
func TestSharedClusters(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		one := orders(t, s, r)
		two := r.Target(resolver.TargetName{RouteConfig: "8080"})
		settle()
		s.send(simpleRoutes("8080", "a"))
		settle()
		if one.Table().Clusters()[0] != two.Table().Clusters()[0] {
			t.Error("the targets have different clusters of one name")
		}
		one.Release()
		settle()
		wantWatched(t, s, "Cluster a", "ClusterLoadAssignment a", "RouteConfiguration 8080")
		wantEndpoint(t, one, "192.0.2.1") // calls that have the table may go on
		two.Release()
		settle()
		wantWatched(t, s)
	})
}

func TestUnusedClustersLinger(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := orders(t, s, r)
		cluster := target.Table().Clusters()[0]
		target.Release()
		settle()
		time.Sleep(9 * time.Second)

		// It comes back, with what it had, but is not used before it is told again.
		target = r.Target(resolver.TargetName{RouteConfig: "8080"})
		settle()
		s.send(simpleRoutes("8080", "a"))
		settle()
		if target.Table() != nil {
			t.Fatal("published a cluster that was not heard of again")
		}
		s.send(edsCluster("a"))
		settle()
		if target.Table() != nil {
			t.Fatal("published a cluster whose endpoints were not heard of again")
		}
		s.send(assignment("a", "192.0.2.1"))
		settle()
		if target.Table().Clusters()[0] != cluster {
			t.Error("it is another cluster")
		}
		time.Sleep(time.Minute)
		wantEndpoint(t, target, "192.0.2.1")

		// After the while it does not.
		target.Release()
		time.Sleep(11 * time.Second)
		target = orders(t, s, r)
		if target.Table().Clusters()[0] == cluster {
			t.Error("it is the same cluster")
		}
	})
}

// A lingering cluster comes back into a table that waits for another, and is gone
// again by then. Calls that an older table routed to it still find its endpoints.
func TestGoneBeforeItIsBack(t *testing.T) {
	for _, gone := range []string{"Cluster a", "ClusterLoadAssignment a"} {
		scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
			target := orders(t, s, r)
			first := target.Table()
			s.send(simpleRoutes("orders", "b"))
			settle()
			s.send(edsCluster("b"))
			settle()
			s.send(assignment("b", "192.0.2.2"))
			settle()
			wantEndpoint(t, target, "192.0.2.2")
			older := func(when string) {
				t.Helper()
				settle()
				if got, err := pickEndpoint(t, first); err != nil || got != "192.0.2.1:80" {
					t.Errorf("%s gone, %s: a call of the first table picked %q, %v", gone, when, got, err)
				}
			}

			back := simpleRoutes("orders", "a")
			back.VirtualHosts[0].Routes = append(back.VirtualHosts[0].Routes, simpleRoutes("orders", "c").VirtualHosts[0].Routes...)
			s.send(back)
			older("lingering")
			if gone != "Cluster a" {
				s.send(edsCluster("a"))
				settle()
			}
			s.fail(gone, xds.ErrNotFound)
			older("wanted again")
			wantEndpoint(t, target, "192.0.2.2")

			// In a table that is published, it is gone.
			s.send(edsCluster("c"))
			settle()
			s.send(assignment("c", "192.0.2.3"))
			time.Sleep(16 * time.Second)
			if v := target.Table().Version(); v != 3 {
				t.Fatalf("table %d, want 3", v)
			}
			wantPickError(t, target, "does not exist")
		})
	}
}

// Handles on one name are one target, which ends with the last of them.
func TestHandles(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		one := orders(t, s, r)
		two := r.Target(resolver.TargetName{Listener: "orders"})
		if one != two {
			t.Error("there are two targets of one name")
		}
		one.Release()
		settle()
		s.send(assignment("a", "192.0.2.5"))
		settle()
		wantEndpoint(t, two, "192.0.2.5")
		two.Release()
		settle()
		wantWatched(t, s)
		if three := r.Target(resolver.TargetName{Listener: "orders"}); three == one || three.Table() != nil {
			t.Error("a target came back from the dead")
		}
	})
}

func TestSubscribe(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := r.Target(resolver.TargetName{RouteConfig: "8080"})
		var early, late []uint64
		target.Subscribe(func(table *resolver.Table) { early = append(early, table.Version()) })
		settle()
		publish := func(cluster string) {
			s.send(simpleRoutes("8080", cluster))
			settle()
			s.fail("Cluster "+cluster, errors.New("never valid"))
			settle()
		}
		publish("a")
		publish("b")
		cancel := target.Subscribe(func(table *resolver.Table) { late = append(late, table.Version()) })
		settle()
		publish("c")
		cancel()
		publish("d")
		if diff := cmp.Diff([]uint64{1, 2, 3, 4}, early); diff != "" {
			t.Errorf("from the start (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]uint64{2, 3}, late); diff != "" {
			t.Errorf("from the second to the third (-want +got):\n%s", diff)
		}
	})
}

// A policy that names a cluster which does not exist is held back while there is a
// better one, or one may be on its way, but not for ever.
func TestMissingCluster(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := orders(t, s, r)
		version := func(want uint64) {
			t.Helper()
			settle()
			if got := target.Table().Version(); got != want {
				t.Fatalf("table %d, want %d", got, want)
			}
		}

		// The next policy comes in time: no call sees the one between.
		s.send(simpleRoutes("orders", "gone"))
		settle()
		s.fail("Cluster gone", xds.ErrNotFound)
		time.Sleep(14 * time.Second)
		version(1)
		s.send(simpleRoutes("orders", "b"))
		settle()
		s.send(edsCluster("b"))
		settle()
		s.send(assignment("b", "192.0.2.2"))
		version(2)
		time.Sleep(20 * time.Second)
		version(2)

		// The cluster itself comes in time.
		s.send(simpleRoutes("orders", "late"))
		settle()
		s.fail("Cluster late", xds.ErrNotFound)
		version(2)
		s.send(edsCluster("late"))
		settle()
		s.send(assignment("late", "192.0.2.3"))
		version(3)

		// Nothing comes.
		s.send(simpleRoutes("orders", "never"))
		settle()
		s.fail("Cluster never", xds.ErrNotFound)
		time.Sleep(14 * time.Second)
		version(3)
		time.Sleep(2 * time.Second)
		version(4)
		wantPickError(t, target, "never", "does not exist")

		// Without a table before, callers wait for a second.
		first := r.Target(resolver.TargetName{RouteConfig: "8080"})
		settle()
		s.send(simpleRoutes("8080", "missing"))
		settle()
		s.fail("Cluster missing", xds.ErrNotFound)
		settle()
		if first.Table() != nil {
			t.Error("the first table did not wait")
		}
		time.Sleep(2 * time.Second)
		if first.Table() == nil {
			t.Error("the first table waits for ever")
		}
	})
}

// Clusters with names to resolve are waited for, too.
func TestDNSClusters(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := r.Target(resolver.TargetName{RouteConfig: "8080"})
		settle()
		s.send(simpleRoutes("8080", "d"))
		settle()
		c := staticCluster("d", "h.example")
		c.ClusterDiscoveryType = dnsType
		s.send(c)
		settle()
		wantEndpoint(t, target, "192.0.2.1")
	})
}

// A cluster whose discovery changes to EDS keeps its endpoints until others come.
func TestDiscoveryChangesToEDS(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := r.Target(resolver.TargetName{RouteConfig: "8080"})
		settle()
		s.send(simpleRoutes("8080", "c"))
		settle()
		s.send(staticCluster("c", "192.0.2.7"))
		settle()
		s.send(edsCluster("c"))
		settle()
		wantEndpoint(t, target, "192.0.2.7")
		s.send(assignment("c", "192.0.2.8"))
		settle()
		wantEndpoint(t, target, "192.0.2.8")

		// To another EDS name the same.
		renamed := edsCluster("c")
		renamed.EdsClusterConfig.ServiceName = "s"
		s.send(renamed)
		settle()
		wantEndpoint(t, target, "192.0.2.8")
		wantWatched(t, s, "Cluster c", "ClusterLoadAssignment s", "RouteConfiguration 8080")
		s.send(assignment("s", "192.0.2.9"))
		settle()
		wantEndpoint(t, target, "192.0.2.9")
		s.send(staticCluster("c", "192.0.2.7"))
		settle()
		wantEndpoint(t, target, "192.0.2.7")
		wantWatched(t, s, "Cluster c", "RouteConfiguration 8080")
	})
}

func TestBadTargets(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		for name, text := range map[resolver.TargetName]string{
			{}:                                "needs the name",
			{Listener: "a", RouteConfig: "b"}: "not of both",
		} {
			table, err := r.Target(name).Await(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			wantError(t, table.Err(), text)
		}
	})
	if _, err := resolver.New(resolver.Config{}); err == nil {
		t.Error("a resolver without a source")
	}
}

func TestClose(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := orders(t, s, r)
		waiting := r.Target(resolver.TargetName{Listener: "other"})
		failed := make(chan error)
		go func() {
			_, err := waiting.Await(t.Context())
			failed <- err
		}()
		settle()
		r.Close()
		r.Close()
		if err := <-failed; !errors.Is(err, resolver.ErrClosed) {
			t.Errorf("Await: %v, want ErrClosed", err)
		}
		if len(s.watched()) > 0 {
			t.Errorf("still watched: %v", s.watched())
		}
		wantEndpoint(t, target, "192.0.2.1") // for the calls that are on their way
		target.Release()
		late := r.Target(resolver.TargetName{Listener: "late"})
		if _, err := late.Await(t.Context()); !errors.Is(err, resolver.ErrClosed) {
			t.Errorf("Await after Close: %v, want ErrClosed", err)
		}
		late.Release()
		waiting.Subscribe(func(*resolver.Table) { t.Error("called") })()
		settle()
	})
}

// TestOneChangeTouchesOneCluster is row X10: of ten thousand clusters, the change of
// one's endpoints wakes that one.
func TestOneChangeTouchesOneCluster(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		const n = 1000
		rc := simpleRoutes("8080", "c0")
		for i := 1; i < n; i++ {
			rc.VirtualHosts[0].Routes = append(rc.VirtualHosts[0].Routes, simpleRoutes("", fmt.Sprint("c", i)).VirtualHosts[0].Routes...)
		}
		target := r.Target(resolver.TargetName{RouteConfig: "8080"})
		settle()
		s.send(rc)
		settle()
		for i := range n {
			s.send(edsCluster(fmt.Sprint("c", i)))
		}
		settle()
		for i := range n {
			s.send(assignment(fmt.Sprint("c", i), "192.0.2.1"))
		}
		settle()
		table := target.Table()
		watches := s.total
		before := map[*balancer.Cluster]*balancer.Endpoint{}
		for _, c := range table.Clusters() {
			before[c] = c.Endpoints()[0]
		}
		s.send(assignment("c7", "192.0.2.2"))
		settle()
		if target.Table() != table || s.total != watches {
			t.Error("a change of endpoints made another table or watch")
		}
		for _, c := range table.Clusters() {
			if changed := c.Endpoints()[0] != before[c]; changed != (c.Name() == "c7") {
				t.Errorf("cluster %s changed: %t", c.Name(), changed)
			}
		}
	})
}
