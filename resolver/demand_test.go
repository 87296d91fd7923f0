package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resolver"
	"github.com/weft-mesh/weft/resolver/xds"
)

// byHeader brings a target to a table in which calls name their cluster.
func byHeader(t *testing.T, s *script, r *resolver.Resolver) *resolver.Target {
	t.Helper()
	target := r.Target(resolver.TargetName{RouteConfig: "8080"})
	settle()
	s.send(parse(t, &routev3.RouteConfiguration{}, `{"name": "8080", "virtualHosts": [{"name": "h", "domains": ["*"], "routes": [
		{"match": {"prefix": "/"}, "route": {"clusterHeader": "x-cluster"}}]}]}`))
	settle()
	if target.Table() == nil {
		t.Fatal("there is no table")
	}
	return target
}

// demanded is what a call that names its cluster gets.
type demanded struct {
	cluster *balancer.Cluster
	err     error
}

// demand asks for a cluster in the background.
func demand(t *testing.T, target *resolver.Target, name string) <-chan demanded {
	c := make(chan demanded, 1)
	go func() {
		cluster, err := target.Demand(t.Context(), name)
		c <- demanded{cluster, err}
	}()
	settle()
	return c
}

func TestDemand(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := byHeader(t, s, r)
		first := demand(t, target, "a")
		wantWatched(t, s, "Cluster a", "RouteConfiguration 8080")
		second := demand(t, target, "a")
		s.send(edsCluster("a"))
		settle()
		if target.DemandNow("a") != nil {
			t.Error("there before its endpoints")
		}
		s.send(assignment("a", "192.0.2.1"))
		settle()
		for _, c := range []<-chan demanded{first, second} {
			if got := <-c; got.err != nil || got.cluster.Name() != "a" {
				t.Errorf("demanded %v", got)
			}
		}
		table := target.Table()
		if table.Demanded("a") == nil || table.Demanded("b") != nil || len(table.Clusters()) != 1 || table.Version() != 2 {
			t.Errorf("table %d has clusters %v", table.Version(), table.Clusters())
		}

		// In use, it stays.
		for range 30 {
			time.Sleep(time.Minute)
			if target.Table().Demanded("a") == nil {
				t.Fatal("gone while it is used")
			}
		}
		// Then not.
		time.Sleep(7 * time.Minute)
		settle()
		if target.Table().Demanded("a") != nil {
			t.Error("still there without use")
		}
		wantWatched(t, s, "RouteConfiguration 8080")
	})
}

func TestDemandOfWhatIsNot(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := byHeader(t, s, r)
		c := demand(t, target, "none")
		s.fail("Cluster none", xds.ErrNotFound)
		if got := <-c; !errors.Is(got.err, resolver.ErrDemand) || !errors.Is(got.err, xds.ErrNotFound) {
			t.Errorf("demanded %v", got)
		}
		if got := <-demand(t, target, "none"); !errors.Is(got.err, resolver.ErrDemand) {
			t.Errorf("again: %v", got)
		}
		if v := target.Table().Version(); v != 1 {
			t.Errorf("table %d", v)
		}
		// It comes after all.
		s.send(edsCluster("none"))
		settle()
		s.send(assignment("none", "192.0.2.1"))
		settle()
		c = demand(t, target, "none")
		s.send(edsCluster("none"), assignment("none", "192.0.2.1"))
		settle()
		s.send(assignment("none", "192.0.2.1"))
		if got := <-c; got.err != nil {
			t.Errorf("after it came: %v", got)
		}
	})
}

// Names that do not exist are bounded, and those that do are not among them.
func TestDemandOfMany(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := byHeader(t, s, r)
		exists := demand(t, target, "a")
		s.send(edsCluster("a"))
		settle()
		s.send(assignment("a", "192.0.2.1"))
		if got := <-exists; got.err != nil {
			t.Fatal(got.err)
		}
		refused := 0
		for i := range 100 {
			name := fmt.Sprint("none", i)
			c := demand(t, target, name)
			s.fail("Cluster "+name, xds.ErrNotFound)
			if got := <-c; !errors.Is(got.err, xds.ErrNotFound) {
				refused++
			}
		}
		if n := len(s.watched()); refused != 36 || n > 64+3 {
			t.Errorf("%d of 100 were refused, %d watches", refused, n)
		}
		if target.DemandNow("a") == nil {
			t.Error("the one that exists was pushed out")
		}
		time.Sleep(time.Minute) // they are forgotten
		target.DemandNow("a")
		settle()
		wantWatched(t, s, "Cluster a", "ClusterLoadAssignment a", "RouteConfiguration 8080")
	})
}

// Nobody waits for ever, and a demand is no reason to keep a target.
func TestDemandEnds(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := byHeader(t, s, r)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := target.Demand(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("demanded %v", err)
		}
		time.Sleep(10 * time.Minute)
		wantWatched(t, s, "RouteConfiguration 8080")

		demand(t, target, "a")
		target.Release()
		settle()
		wantWatched(t, s)
	})
}

// A name that is too long is refused without asking anybody.
func TestDemandOfALongName(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := byHeader(t, s, r)
		c := demand(t, target, strings.Repeat("x", 513))
		wantWatched(t, s, "RouteConfiguration 8080")
		if got := <-c; !errors.Is(got.err, resolver.ErrDemand) {
			t.Errorf("demanded %v", got.err)
		}
	})
}

// Those who do not wait keep a cluster as long as those who do.
func TestDemandNowIsUse(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		target := byHeader(t, s, r)
		c := demand(t, target, "a")
		s.send(edsCluster("a"))
		settle()
		s.send(assignment("a", "192.0.2.1"))
		if got := <-c; got.err != nil {
			t.Fatal(got.err)
		}
		for range 30 {
			time.Sleep(time.Minute)
			if target.DemandNow("a") == nil {
				t.Fatal("gone while it is used")
			}
		}
	})
}

// Clusters that exist are bounded, too, and when they are let go there is room again.
func TestDemandOfMost(t *testing.T) {
	scripted(t, func(t *testing.T, s *script, r *resolver.Resolver) {
		const most = 1024
		target := byHeader(t, s, r)
		add := func(name string) error {
			c := demand(t, target, name)
			if len(c) == 0 {
				s.send(edsCluster(name))
				settle()
				s.send(assignment(name, "192.0.2.1"))
			}
			return (<-c).err
		}
		for i := range most {
			if err := add(fmt.Sprint("c", i)); err != nil {
				t.Fatalf("cluster %d: %v", i, err)
			}
		}
		if err := add("one more"); !errors.Is(err, resolver.ErrDemand) {
			t.Errorf("one more than %d: %v", most, err)
		}
		time.Sleep(10 * time.Minute)
		settle()
		if err := add("after them"); err != nil {
			t.Errorf("when the others were let go: %v", err)
		}
	})
}
