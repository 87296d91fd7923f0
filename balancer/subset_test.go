package balancer

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// subsetOracle says where a call may go, in turn, as the documentation of Envoy's
// subset load balancer has it: endpoint by endpoint and without an index.
type subsetOracle struct {
	config    *Subsets
	endpoints []EndpointConfig // of all priorities, in order
}

func (o subsetOracle) targets(asked map[string]Value) [][]string {
	list, ok := asked["fallback_list"]
	if !ok || !o.config.FallbackList {
		return o.once(asked)
	}
	rest := maps.Clone(asked)
	delete(rest, "fallback_list")
	elements, _ := list.elements()
	if len(elements) == 0 {
		return o.once(rest)
	}
	var all [][]string
	for _, e := range elements {
		merged := maps.Clone(rest)
		fields, _ := e.fields()
		maps.Copy(merged, fields)
		all = append(all, o.once(merged)...)
	}
	return all
}

func (o subsetOracle) once(asked map[string]Value) [][]string {
	if o.config.RedundantKeys {
		most := -1
		for i, s := range o.config.Selectors {
			if o.asksFor(asked, s) && (most < 0 || len(o.distinct(s)) > len(o.distinct(o.config.Selectors[most]))) {
				most = i
			}
		}
		if most >= 0 {
			kept := map[string]Value{}
			for _, key := range o.config.Selectors[most].Keys {
				kept[key] = asked[key]
			}
			asked = kept
		}
	}
	for _, s := range o.config.Selectors {
		if len(asked) != len(o.distinct(s)) || !o.asksFor(asked, s) || len(s.Keys) == 0 {
			continue
		}
		found := o.with(asked)
		if len(found) > 0 && s.SingleHost {
			found = found[:1]
		}
		switch {
		case len(found) > 0:
			return [][]string{found}
		case s.Fallback == FallbackNone:
			return nil
		case s.Fallback == FallbackAny:
			return [][]string{o.with(nil)}
		case s.Fallback == FallbackDefault:
			return [][]string{o.with(o.config.Default)}
		case s.Fallback == FallbackToKeys:
			kept := map[string]Value{}
			for _, key := range s.FallbackKeys {
				kept[key] = asked[key]
			}
			return o.once(kept)
		}
		break // the first selector with these keys counts
	}
	switch o.config.Fallback {
	case FallbackAny:
		return [][]string{o.with(nil)}
	case FallbackDefault:
		if o.config.PanicAny {
			return [][]string{o.with(o.config.Default), o.with(nil)}
		}
		return [][]string{o.with(o.config.Default)}
	}
	return nil
}

func (o subsetOracle) distinct(s SubsetSelector) []string {
	return slices.Compact(slices.Sorted(slices.Values(s.Keys)))
}

func (o subsetOracle) asksFor(asked map[string]Value, s SubsetSelector) bool {
	for _, key := range s.Keys {
		if _, ok := asked[key]; !ok {
			return false
		}
	}
	return true
}

// with lists the endpoints that have all of the labels.
func (o subsetOracle) with(labels map[string]Value) []string {
	var found []string
	for _, e := range o.endpoints {
		has := true
		for key, want := range labels {
			got, ok := e.Labels[key]
			list, isList := got.elements()
			if isList && o.config.ListAsAny {
				ok = slices.Contains(list, want)
			} else {
				ok = ok && got == want
			}
			has = has && ok
		}
		if has {
			found = append(found, e.Address)
		}
	}
	return found
}

// subsetCase makes up a configuration, endpoints and what a call asks for.
func subsetCase(next func(n int) int) (*Subsets, *Assignment, []map[string]Value) {
	keys := []string{"a", "b", "c"}
	some := func() []string {
		var list []string
		for range 1 + next(3) {
			list = append(list, keys[next(len(keys))])
		}
		return list
	}
	values := []Value{Text("1"), Number(1), True, `["x","y"]`, Text("x"), Null}
	labels := func() map[string]Value {
		m := map[string]Value{}
		for _, key := range keys {
			if next(3) > 0 {
				m[key] = values[next(len(values))]
			}
		}
		return m
	}
	flag := func() bool { return next(2) == 1 }
	s := &Subsets{
		Fallback: SubsetFallback(next(4)), Default: labels(),
		LocalityWeights: flag(), ScaleLocalityWeights: flag(),
		PanicAny: flag(), ListAsAny: flag(), FallbackList: flag(), RedundantKeys: flag(),
	}
	for range next(5) {
		sel := SubsetSelector{Keys: some(), SingleHost: next(4) == 0, Fallback: SubsetFallback(next(5))}
		if sel.Fallback == FallbackToKeys {
			sel.FallbackKeys = sel.Keys[:1]
			if len(slices.Compact(slices.Sorted(slices.Values(sel.Keys)))) == 1 {
				sel.Fallback, sel.FallbackKeys = FallbackUnset, nil
			}
		}
		s.Selectors = append(s.Selectors, sel)
	}
	a := new(Assignment)
	n := 0
	for p := range 1 + next(2) {
		for range 1 + next(2) {
			l := LocalityEndpoints{Priority: uint32(p), Weight: uint32(1 + next(3))}
			for range next(5) {
				l.Endpoints = append(l.Endpoints, EndpointConfig{Address: fmt.Sprintf("e%d:1", n), Labels: labels()})
				n++
			}
			a.Localities = append(a.Localities, l)
		}
	}
	var asked []map[string]Value
	for range 4 {
		m := labels()
		if next(4) == 0 {
			m["fallback_list"] = Value(fmt.Sprintf(`[{"a":%s},{"b":%s}]`, values[next(3)], values[next(3)]))
		}
		asked = append(asked, m)
	}
	return s, a, append(asked, nil)
}

// checkSubsets holds a view's picks against the oracle.
func checkSubsets(t *testing.T, s *Subsets, a *Assignment, asked []map[string]Value, kind PolicyKind) {
	c := NewCluster("c", ClusterOptions{Logger: quiet})
	defer c.Close()
	c.Configure(&Config{Subsets: s, PanicThreshold: 50, Policy: Policy{Kind: kind, MinRingSize: 64}})
	c.Assign(a)
	v := c.View(new(fakeConnector), httpView)
	o := subsetOracle{config: s}
	priority := map[string]uint32{}
	for _, l := range a.Localities {
		o.endpoints = append(o.endpoints, l.Endpoints...)
		for _, e := range l.Endpoints {
			priority[e.Address] = l.Priority
		}
	}
	for _, labels := range asked {
		var want []string
		for _, list := range o.targets(labels) {
			if len(want) > 0 {
				break
			}
			for _, address := range list { // all are healthy: the first priority takes everything
				if len(want) > 0 && priority[address] > priority[want[0]] {
					break
				}
				want = append(want, address)
			}
		}
		slices.Sort(want)
		criteria := NewCriteria(labels)
		for range 2 { // before and after the view has a picker for it
			got := map[string]int{}
			for i := range 40 * (1 + len(want)) {
				l, err := v.Pick(PickInfo{Subset: criteria, Hash: uint64(i) * 0x9e3779b97f4a7c15, HasHash: true})
				if len(want) == 0 && errors.Is(err, ErrNoEndpoints) {
					continue
				}
				if err != nil {
					t.Fatalf("%v: %v, want one of %v\n%+v", criteria, err, want, s)
				}
				got[l.Endpoint().Address()]++
				l.Done(Outcome{})
			}
			if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" && len(want)+len(got) > 0 {
				t.Fatalf("%v (-want +got):\n%s\n%+v\n%+v", criteria, diff, s, a)
			}
			synctest.Wait()
		}
	}
	if len(o.endpoints) > 0 && len(v.picker.Load().parts) == 0 {
		t.Error("nothing is remembered of what calls ask for")
	}
}

// TestSubsetsAgainstOracle compares picks in hundreds of made-up clusters with an
// implementation that has no index.
func TestSubsetsAgainstOracle(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for range 300 {
		s, a, asked := subsetCase(random.IntN)
		synctest.Test(t, func(t *testing.T) {
			checkSubsets(t, s, a, asked, RoundRobin)
		})
	}
}

// FuzzSubsets is the same with bytes in place of chance.
func FuzzSubsets(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20})
	f.Add([]byte("\x03\x01\x02\x01\x01\x00\x01\x00\x01\x01\x02\x02\x01\x00\x04\x02\x01\x03\x01\x02\x01\x03\x01\x01\x05\x01\x01\x02"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := &byteReader{data}
		s, a, asked := subsetCase(func(n int) int { return int(in.next()) % n })
		synctest.Test(t, func(t *testing.T) {
			checkSubsets(t, s, a, asked, RoundRobin)
		})
	})
}

// version is an endpoint with a label.
func version(address, v string) EndpointConfig {
	return EndpointConfig{Address: address, Labels: map[string]Value{"version": Text(v)}}
}

var byVersion = &Subsets{Selectors: []SubsetSelector{{Keys: []string{"version"}}}}

func asks(v string) PickInfo {
	return PickInfo{Subset: NewCriteria(map[string]Value{"version": Text(v)})}
}

// Each subset has priorities and panic of its own: one may be in its second priority,
// or use its unhealthy endpoints, while the others are not.
func TestSubsetsFailOverByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sick := version("sick:1", "v2")
		sick.Health = Unhealthy
		r := newRig(t, httpView, &Config{Subsets: byVersion, PanicThreshold: 50}, &Assignment{Localities: []LocalityEndpoints{
			{Endpoints: []EndpointConfig{version("a:1", "v1"), version("b:1", "v1"), sick}},
			{Priority: 1, Endpoints: []EndpointConfig{version("c:1", "v1"), version("d:1", "v3")}},
		}})
		to := func(v string) map[string]int {
			t.Helper()
			got := map[string]int{}
			for range 60 {
				l, err := r.view.Pick(asks(v))
				if err != nil {
					t.Fatalf("%s: %v", v, err)
				}
				got[l.Endpoint().Address()]++
				l.Done(Outcome{})
			}
			synctest.Wait()
			return got
		}
		for range 2 { // with a picker made for the call, and with the one that lasts
			for v, want := range map[string]map[string]int{
				"v1": {"a:1": 30, "b:1": 30}, "v2": {"sick:1": 60}, "v3": {"d:1": 60},
			} {
				got := to(v)
				if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
					t.Errorf("%s (-want +got):\n%s", v, diff)
				}
			}
		}
		r.report(TransientFailure, errors.New("refused"), "a:1", "b:1")
		if diff := cmp.Diff(map[string]int{"c:1": 60}, to("v1")); diff != "" {
			t.Errorf("v1 without its first priority (-want +got):\n%s", diff)
		}
	})
}

// Where connections are made ahead of calls, only subsets that calls ask for have
// them, and the call that asks first waits.
func TestSubsetsConnectWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, grpcView, &Config{Subsets: byVersion}, one(version("a:1", "v1"), version("b:1", "v2")))
		r.k.connects = up
		if _, err := r.view.Pick(asks("v1")); !errors.Is(err, ErrConnecting) {
			t.Fatalf("the first pick: %v", err)
		}
		synctest.Wait()
		l, err := r.view.Pick(asks("v1"))
		if err != nil || l.Endpoint().Address() != "a:1" {
			t.Fatalf("then: %v, %v", l, err)
		}
		if diff := cmp.Diff([]string{"a:1"}, r.k.connected()); diff != "" {
			t.Errorf("connected (-want +got):\n%s", diff)
		}
		if s, err := r.view.State(); s != Ready {
			t.Errorf("state %v, %v", s, err)
		}
		// What nobody asks for any more is forgotten.
		time.Sleep(2 * unusedTimeout)
		r.assign(one(version("a:1", "v1"), version("b:1", "v2"), version("c:1", "v2")))
		time.Sleep(2 * unusedTimeout)
		r.assign(one(version("a:1", "v1"), version("b:1", "v2")))
		if n := len(r.view.asked); n != 0 {
			t.Errorf("%d subsets are remembered", n)
		}
	})
}

// Locality weights count in a subset only if policy says so, and then scaled by the part
// of the locality that is in it.
func TestSubsetLocalityWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Assignment{Localities: []LocalityEndpoints{
			{Locality: Locality{Zone: "x"}, Weight: 3, Endpoints: []EndpointConfig{version("a:1", "v1"), version("b:1", "v2"), version("c:1", "v2")}},
			{Locality: Locality{Zone: "y"}, Weight: 3, Endpoints: []EndpointConfig{version("d:1", "v1"), version("e:1", "v1"), version("f:1", "v1")}},
		}}
		for _, c := range []struct {
			aware, scale bool
			share        int // of 120 calls that a:1 gets
		}{{false, false, 30}, {true, false, 60}, {true, true, 30}} {
			s := &Subsets{Selectors: byVersion.Selectors, LocalityWeights: c.aware, ScaleLocalityWeights: c.scale}
			r := newRig(t, httpView, &Config{Subsets: s, LocalityWeighted: true}, a)
			_, _ = r.view.Pick(asks("v1"))
			synctest.Wait()
			got := 0
			for range 120 {
				l, err := r.view.Pick(asks("v1"))
				if err != nil {
					t.Fatal(err)
				}
				if l.Endpoint().Address() == "a:1" {
					got++
				}
			}
			if got != c.share {
				t.Errorf("%+v: a:1 got %d of 120 calls", c, got)
			}
		}
	})
}

// Drops are policy's for the cluster, and counted once for a call whatever the parts
// that it is tried in.
func TestSubsetDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := one(version("a:1", "v1"))
		a.Drops = []Drop{{"all", 1_000_000}}
		r := newRig(t, httpView, &Config{Subsets: byVersion}, a)
		for _, v := range []string{"v1", "v9"} {
			if _, err := r.view.Pick(asks(v)); !errors.Is(err, ErrDropped) {
				t.Errorf("%s: %v", v, err)
			}
		}
		if n := r.cluster.Endpoints()[0].Active(); n != 0 {
			t.Errorf("%d calls in flight", n)
		}
	})
}

// BenchmarkPickSubset is a pick in a cluster of many subsets.
func BenchmarkPickSubset(b *testing.B) {
	var list []EndpointConfig
	for i := range 1000 {
		list = append(list, version(fmt.Sprintf("e%d:1", i), fmt.Sprint("v", i%100)))
	}
	c := NewCluster("c", ClusterOptions{Logger: quiet})
	defer c.Close()
	c.Configure(&Config{Subsets: byVersion})
	c.Assign(one(list...))
	v := c.View(new(fakeConnector), httpView)
	info := asks("v7")
	_, _ = v.Pick(info)
	for v.picker.Load().parts[info.Subset.key] == nil {
		runtime.Gosched()
	}
	b.ReportAllocs()
	for b.Loop() {
		l, err := v.Pick(info)
		if err != nil {
			b.Fatal(err)
		}
		l.Done(Outcome{})
	}
}

// A subset heeds what is found out about its endpoints, unless it is to have one
// whatever its health.
func TestSubsetsHeedHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, single := range []bool{false, true} {
			s := &Subsets{Selectors: []SubsetSelector{{Keys: []string{"version"}, SingleHost: single}}}
			r := newRig(t, httpView, &Config{Subsets: s}, one(version("a:1", "v1"), version("b:1", "v1"), version("c:1", "v2")))
			picks := func() map[string]int {
				got := map[string]int{}
				for range 20 {
					l, err := r.view.Pick(asks("v1"))
					if err != nil {
						t.Fatal(err)
					}
					got[l.Endpoint().Address()]++
				}
				synctest.Wait()
				return got
			}
			before := picks()
			r.cluster.index["a:1"].mark(ejected, true)
			r.cluster.healthChanged()
			synctest.Wait()
			after := picks()
			if single && (before["a:1"] != 20 || after["a:1"] != 20) {
				t.Errorf("one endpoint: %v, and after its ejection %v", before, after)
			}
			if !single && (before["a:1"] == 0 || after["a:1"] != 0) {
				t.Errorf("%v, and after the ejection of a:1 %v", before, after)
			}
		}
	})
}
