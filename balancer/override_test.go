package balancer

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// overrideTo picks with an override, and returns the address.
func (r *rig) overrideTo(o Override, exclude ...*Endpoint) (string, error) {
	l, err := r.view.Pick(PickInfo{Override: o, Exclude: exclude})
	if err != nil {
		return "", err
	}
	defer l.Done(Outcome{})
	return l.Endpoint().Address(), nil
}

// TestOverride goes to the endpoint that a call names, as far as its health allows.
func TestOverride(t *testing.T) {
	health := func(address string, h Health) EndpointConfig { return EndpointConfig{Address: address, Health: h} }
	assignment := &Assignment{Localities: []LocalityEndpoints{
		{Weight: 1, Endpoints: []EndpointConfig{at("a:1"), health("degraded:1", Degraded), health("sick:1", Unhealthy), health("leaving:1", Draining)}},
		{Weight: 1, Priority: 1, Endpoints: []EndpointConfig{at("far:1")}},
	}}
	for _, c := range []struct {
		override Override
		health   HealthSet
		want     string // "" for whatever the policy chooses
		missing  bool
		refused  bool
	}{
		{override: Override{Addresses: "far:1"}, want: "far:1"},
		{override: Override{Addresses: "degraded:1"}, want: "degraded:1"},
		{override: Override{Addresses: "degraded:1"}, health: Healths(Healthy, HealthUnknown)},
		{override: Override{Addresses: "degraded:1"}, health: NoHealth},
		{override: Override{Addresses: "sick:1"}},
		{override: Override{Addresses: "leaving:1"}},
		{override: Override{Addresses: "leaving:1"}, health: Healths(HealthUnknown, Draining), want: "leaving:1"},
		{override: Override{Addresses: "sick:1"}, health: Healths(HealthUnknown, Unhealthy), want: "sick:1"},
		{override: Override{Addresses: "sick:1"}, health: Healths(HealthUnknown, Draining)},
		{override: Override{Addresses: "gone:1"}},
		{override: Override{Addresses: "gone:1, far:1"}, want: "far:1"},
		{override: Override{Addresses: "sick:1,far:1"}, want: "far:1"},
		{override: Override{Addresses: "gone:1", Strict: true}, refused: true, missing: true},
		{override: Override{Addresses: "sick:1", Strict: true}, refused: true},
		{override: Override{Addresses: "far:1", Strict: true}, want: "far:1"},
		{override: Override{Addresses: ",", Strict: true}, refused: true, missing: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, httpView, &Config{PanicThreshold: 50, OverrideHealth: c.health}, assignment)
			got, err := r.overrideTo(c.override)
			if c.refused {
				var refused *OverrideError
				if !errors.As(err, &refused) || !errors.Is(err, ErrNoEndpoints) || refused.Missing != c.missing {
					t.Errorf("%+v: %v", c.override, err)
				}
				return
			}
			chosen := got == "a:1" || got == "far:1" && c.override.Addresses != got
			if err != nil || c.want != "" && got != c.want || c.want == "" && !chosen {
				t.Errorf("%+v, health %b: %s, %v, want %q", c.override, c.health, got, err, c.want)
			}
		})
	}
}

// A further attempt does not go to the endpoint that it was tried at; ejected ones and
// those that cannot be reached do not count; with AnyHealth the health does not.
func TestOverrideOfFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, httpView, &Config{}, one(at("a:1"), at("b:1"), EndpointConfig{Address: "c:1", Health: Draining}))
		o := Override{Addresses: "b:1"}
		if got, err := r.overrideTo(o, r.cluster.index["b:1"]); err != nil || got != "a:1" {
			t.Errorf("tried already: %s, %v", got, err)
		}
		r.cluster.index["b:1"].mark(ejected, true)
		r.cluster.healthChanged()
		synctest.Wait()
		if got, err := r.overrideTo(o); err != nil || got != "a:1" {
			t.Errorf("ejected: %s, %v", got, err)
		}
		if got, err := r.overrideTo(Override{Addresses: "b:1", AnyHealth: true}); err != nil || got != "b:1" {
			t.Errorf("ejected, whatever its health: %s, %v", got, err)
		}
		r.cluster.index["b:1"].mark(ejected, false)
		r.cluster.healthChanged()
		r.report(TransientFailure, errors.New("down"), "b:1")
		if got, err := r.overrideTo(Override{Addresses: "b:1", AnyHealth: true}); err != nil || got != "a:1" {
			t.Errorf("cannot be reached: %s, %v", got, err)
		}
	})
}

// Where connections are made ahead of calls, a session waits for its endpoint to
// connect, and keeps the connection to one that is draining (gRFC A55).
func TestOverrideConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaving := EndpointConfig{Address: "b:1", Health: Draining}
		r := newRig(t, grpcView, &Config{OverrideHealth: Healths(HealthUnknown, Draining)}, one(at("a:1"), at("b:1")))
		r.report(Ready, nil, "a:1", "b:1")
		o := Override{Addresses: "b:1"}
		if got, err := r.overrideTo(o); err != nil || got != "b:1" {
			t.Errorf("%s, %v", got, err)
		}
		r.assign(one(at("a:1"), leaving))
		time.Sleep(2 * unusedTimeout)
		r.report(Ready, nil, "a:1")
		if got, err := r.overrideTo(o); err != nil || got != "b:1" {
			t.Errorf("draining: %s, %v", got, err)
		}
		if diff := cmp.Diff(map[string]int{"a:1": 10}, r.picks(10)); diff != "" {
			t.Errorf("others (-want +got):\n%s", diff)
		}
		r.report(Idle, nil, "b:1")
		if _, err := r.overrideTo(o); !errors.Is(err, ErrConnecting) {
			t.Errorf("idle: %v", err)
		}
		r.report(Connecting, nil, "b:1")
		if _, err := r.overrideTo(o); !errors.Is(err, ErrConnecting) {
			t.Errorf("connecting: %v", err)
		}
		r.report(TransientFailure, errors.New("down"), "b:1")
		if got, err := r.overrideTo(o); err != nil || got != "a:1" {
			t.Errorf("failed: %s, %v", got, err)
		}
	})
}

func BenchmarkPickOverride(b *testing.B) {
	c := NewCluster("c", ClusterOptions{Logger: quiet})
	defer c.Close()
	c.Configure(&Config{})
	c.Assign(one(addresses("e", 10_000)...))
	v := c.View(new(fakeConnector), httpView)
	info := PickInfo{Override: Override{Addresses: "e77:1"}}
	b.ReportAllocs()
	for b.Loop() {
		l, err := v.Pick(info)
		if err != nil {
			b.Fatal(err)
		}
		l.Done(Outcome{})
	}
}
