package balancer

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newAggregate is a rig over a cluster that is made of these.
func newAggregate(t *testing.T, o ViewOptions, parts ...*Cluster) *rig {
	c := NewCluster("all", ClusterOptions{Logger: quiet})
	t.Cleanup(func() {
		for _, part := range parts {
			part.Close()
		}
		c.Close()
		synctest.Wait()
	})
	c.Configure(&Config{Discovery: DiscoverAggregate})
	c.Compose(parts)
	r := &rig{T: t, cluster: c, k: &fakeConnector{}}
	r.view = c.View(r.k, o)
	return r
}

func clusterOf(name string, config *Config, a *Assignment) *Cluster {
	c := NewCluster(name, ClusterOptions{Logger: quiet})
	c.Configure(config)
	c.Assign(a)
	return c
}

func TestAggregateConnectsAsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAggregate(t, grpcView, clusterOf("a", eds, one(at("a0:1"), at("a1:1"))), clusterOf("b", eds, one(at("b0:1"))))
		if diff := cmp.Diff([]string{"a0:1", "a1:1"}, r.k.connected()); diff != "" {
			t.Fatalf("connected at first (-want +got):\n%s", diff)
		}
		if s, err := r.view.State(); s != Connecting || !errors.Is(err, ErrConnecting) {
			t.Errorf("State at first = %v, %v", s, err)
		}
		r.report(Ready, nil, "a0:1", "a1:1")
		if got := r.picks(10); got["a0:1"] != 5 {
			t.Errorf("picks = %v", got)
		}
		r.report(TransientFailure, errRefused, "a0:1")
		if got := r.picks(10); got["a1:1"] != 10 {
			t.Errorf("picks while b connects = %v", got)
		}
		r.report(Ready, nil, "b0:1")
		if diff := cmp.Diff(map[string]int{"a1:1": 70, "b0:1": 30}, r.picks(100)); diff != "" {
			t.Errorf("picks with half of a (-want +got):\n%s", diff)
		}
		r.report(TransientFailure, errRefused, "a1:1")
		if got := r.picks(10); got["b0:1"] != 10 {
			t.Errorf("picks without a = %v", got)
		}
		r.report(TransientFailure, errRefused, "b0:1")
		var unreachable *UnreachableError
		if _, err := r.view.Pick(PickInfo{}); !errors.As(err, &unreachable) {
			t.Errorf("with all down: %v", err)
		}
		if s, _ := r.view.State(); s != TransientFailure {
			t.Errorf("State with all down = %v", s)
		}

		// Back again, b is kept for a while, then let go.
		r.report(Ready, nil, "a0:1", "a1:1")
		time.Sleep(unusedTimeout - time.Second)
		synctest.Wait()
		if got := r.k.closed(); len(got) != 0 {
			t.Errorf("closed after less than 15 minutes: %v", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"b0:1"}, r.k.closed()); diff != "" {
			t.Errorf("closed after 15 minutes (-want +got):\n%s", diff)
		}
	})
}

func TestAggregateOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := clusterOf("a", eds, one(at("a0:1"))), clusterOf("b", eds, one(at("b0:1")))
		r := newAggregate(t, httpView, a, b)
		if got := r.picks(10); got["a0:1"] != 10 {
			t.Errorf("picks = %v", got)
		}
		l, err := r.view.Pick(PickInfo{})
		if err != nil {
			t.Fatal(err)
		}
		l.Done(Outcome{})
		other, err := r.view.Pick(PickInfo{Exclude: []*Endpoint{l.Endpoint()}})
		if err != nil || other.Endpoint().Address() != "b0:1" {
			t.Errorf("a call that has tried a: %v, %v", other, err)
		}
		other.Done(Outcome{})
		if _, err := r.view.Pick(PickInfo{Exclude: []*Endpoint{l.Endpoint(), other.Endpoint()}}); !errors.Is(err, ErrExcluded) {
			t.Errorf("a call that has tried all: %v", err)
		}
		if l.Endpoint().Cluster() != a {
			t.Error("the endpoint is not that of its cluster")
		}

		// One fails, as its source says; then it is back; then the other goes.
		a.Fail(errRefused)
		synctest.Wait()
		if got := r.picks(10); got["b0:1"] != 10 {
			t.Errorf("picks with a failed = %v", got)
		}
		a.Assign(one(at("a1:1")))
		synctest.Wait()
		if got := r.picks(10); got["a1:1"] != 10 {
			t.Errorf("picks with a back = %v", got)
		}
		r.cluster.Compose([]*Cluster{b, a})
		synctest.Wait()
		if got := r.picks(10); got["b0:1"] != 10 {
			t.Errorf("picks in another order = %v", got)
		}
		if got := r.k.closed(); len(got) != 1 { // a0, which a no longer has
			t.Errorf("closed: %v", got)
		}
		r.cluster.Compose([]*Cluster{a})
		synctest.Wait()
		if diff := cmp.Diff([]string{"a0:1", "b0:1"}, r.k.closed()); diff != "" {
			t.Errorf("closed (-want +got):\n%s", diff)
		}
		r.cluster.Configure(eds)
		r.cluster.Assign(one(at("c0:1")))
		synctest.Wait()
		if got := r.picks(10); got["c0:1"] != 10 {
			t.Errorf("picks of what is no aggregate any more = %v", got)
		}
		r.cluster.Configure(&Config{Discovery: DiscoverAggregate})
		r.cluster.Compose(nil)
		synctest.Wait()
		if _, err := r.view.Pick(PickInfo{}); !errors.Is(err, ErrNoEndpoints) {
			t.Errorf("an aggregate of nothing: %v", err)
		}
	})
}

// A key stays with its cluster and its endpoint.
func TestAggregateHash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hashing := &Config{Policy: Policy{Kind: RingHash}}
		sick := EndpointConfig{Address: "a1:1", Health: Unhealthy}
		r := newAggregate(t, httpView, clusterOf("a", hashing, one(at("a0:1"), sick)), clusterOf("b", hashing, one(at("b0:1"), at("b1:1"))))
		if !r.view.Hashes() {
			t.Error("it does not go by hashes")
		}
		got := map[string]int{}
		for key := range uint64(1000) {
			hash := key * 0x9e3779b97f4a7c15
			first := ""
			for range 3 {
				l, err := r.view.Pick(PickInfo{Hash: hash, HasHash: true})
				if err != nil {
					t.Fatal(err)
				}
				l.Done(Outcome{})
				if first == "" {
					first = l.Endpoint().Address()
				} else if l.Endpoint().Address() != first {
					t.Fatalf("key %d went to %s and %s", key, first, l.Endpoint().Address())
				}
			}
			got[first[:1]]++
		}
		if got["a"] < 600 || got["a"] > 800 {
			t.Errorf("keys are divided as %v, want 70 %% to a", got)
		}
	})
}

func BenchmarkAggregate(b *testing.B) {
	c := NewCluster("all", ClusterOptions{Logger: quiet})
	defer c.Close()
	first := clusterOf("a", eds, one(at("a0:1"), EndpointConfig{Address: "a1:1", Health: Unhealthy}))
	second := clusterOf("b", eds, one(at("b0:1")))
	defer first.Close()
	defer second.Close()
	c.Configure(&Config{Discovery: DiscoverAggregate})
	c.Compose([]*Cluster{first, second})
	v := c.View(&fakeConnector{}, httpView)
	b.ReportAllocs()
	for b.Loop() {
		l, err := v.Pick(PickInfo{})
		if err != nil {
			b.Fatal(err)
		}
		l.Done(Outcome{})
	}
}

// A session keeps to its endpoint, in whichever cluster that is.
func TestAggregateOverride(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAggregate(t, httpView, clusterOf("a", eds, one(at("a0:1"))), clusterOf("b", eds, one(at("b0:1"))))
		for addresses, want := range map[string]string{"b0:1": "b0:1", "a0:1": "a0:1", "c0:1": "a0:1"} {
			l, err := r.view.Pick(PickInfo{Override: Override{Addresses: addresses}})
			if err != nil || l.Endpoint().Address() != want {
				t.Errorf("picked %v, %v for %s; want %s", l, err, addresses, want)
				continue
			}
			l.Done(Outcome{})
		}
		if _, err := r.view.Pick(PickInfo{Override: Override{Addresses: "c0:1", Strict: true}}); !errors.Is(err, ErrNoEndpoints) {
			t.Errorf("a strict session at an endpoint that is not there: %v", err)
		}
	})
}
