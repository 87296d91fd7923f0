package resolver

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"
	"weak"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weft-mesh/weft/balancer"
)

// manyEndpoints is an assignment of n endpoints in two localities.
func manyEndpoints(tb testing.TB, n int) *endpointv3.ClusterLoadAssignment {
	m := &endpointv3.ClusterLoadAssignment{ClusterName: "c"}
	for z := range 2 {
		l := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Zone: fmt.Sprint("z", z)}}
		for i := range n / 2 {
			l.LbEndpoints = append(l.LbEndpoints, endpointOf(tb, z*n/2+i, i%3))
		}
		m.Endpoints = append(m.Endpoints, l)
	}
	return m
}

func endpointOf(tb testing.TB, i, version int) *endpointv3.LbEndpoint {
	labels, err := structpb.NewStruct(map[string]any{"version": fmt.Sprint("v", version)})
	if err != nil {
		tb.Fatal(err)
	}
	return &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 80},
			}}},
		}},
		Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{labelsKey: labels}},
	}
}

func wireOf(tb testing.TB, m proto.Message) []byte {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

// compareRemembered holds what is decoded after other assignments against what is
// decoded alone.
func compareRemembered(t *testing.T, memory *assignmentMemory, raw []byte) any {
	t.Helper()
	_, got, err := memory.decode(TypesConfig{}, raw)
	_, want, alone := new(assignmentMemory).decode(TypesConfig{}, raw)
	if (err == nil) != (alone == nil) {
		t.Fatalf("%v, alone %v", err, alone)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("assignment (-want +got):\n%s", diff)
	}
	return got
}

// Whatever changes from one assignment to the next, the second is as if it were alone.
func TestRememberedAssignments(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	memory := new(assignmentMemory)
	m := manyEndpoints(t, 300)
	var last any
	for range 200 {
		for range random.IntN(4) {
			l := m.Endpoints[random.IntN(len(m.Endpoints))]
			n := len(l.LbEndpoints)
			switch at := random.IntN(n); random.IntN(6) {
			case 0:
				l.LbEndpoints[at] = endpointOf(t, random.IntN(1<<20), random.IntN(3))
			case 1:
				l.LbEndpoints = slices.Insert(l.LbEndpoints, at, endpointOf(t, random.IntN(1<<20), 0))
			case 2:
				l.LbEndpoints = slices.Delete(l.LbEndpoints, at, min(n, at+random.IntN(20)))
			case 3:
				for i := at; i < min(n, at+random.IntN(40)); i++ {
					l.LbEndpoints[i] = endpointOf(t, random.IntN(1<<20), 1)
				}
			case 4:
				slices.Reverse(m.Endpoints)
			case 5:
				l.LbEndpoints[at].HealthStatus = corev3.HealthStatus(random.IntN(4))
			}
			for i := 0; len(l.LbEndpoints) < 100; i++ {
				l.LbEndpoints = append(l.LbEndpoints, endpointOf(t, i, 2))
			}
		}
		last = compareRemembered(t, memory, wireOf(t, m))
	}
	runtime.KeepAlive(last)
}

func FuzzRememberedAssignments(f *testing.F) {
	list := istioAssignments(f)
	f.Add(list[0], list[1])
	f.Add(wireOf(f, manyEndpoints(f, 8)), wireOf(f, manyEndpoints(f, 6)))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		memory := new(assignmentMemory)
		name, a, ok := (&decoder{}).scanAssignment(first, memory)
		if ok {
			memory.byName = map[string]remembered{name: {string(first), weak.Make(a)}} // whatever its size
		}
		compareRemembered(t, memory, second)
		runtime.KeepAlive(a)
	})
}

// An assignment that nobody keeps is forgotten.
func TestAssignmentsAreForgotten(t *testing.T) {
	memory := new(assignmentMemory)
	func() {
		_, a, err := memory.decode(TypesConfig{}, wireOf(t, manyEndpoints(t, 1000)))
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		if _, kept := memory.recall("c"); kept != a.(*balancer.Assignment) {
			t.Error("not remembered while it is kept")
		}
		runtime.KeepAlive(a)
	}()
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		runtime.GC()
		memory.mu.Lock()
		n := len(memory.byName)
		memory.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("remembered for a minute, though nobody keeps it")
		}
	}
}

// oneChange are two assignments of 10,000 endpoints that differ in one.
func oneChange(tb testing.TB) (raw [2][]byte) {
	m := manyEndpoints(tb, 10_000)
	raw[0] = wireOf(tb, m)
	m.Endpoints[0].LbEndpoints[5000-1] = endpointOf(tb, 1<<17, 0)
	raw[1] = wireOf(tb, m)
	return raw
}

func TestOneChangeIsDecodedAlone(t *testing.T) {
	raw, memory := oneChange(t), new(assignmentMemory)
	_, kept, err := memory.decode(TypesConfig{}, raw[1])
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	n := testing.AllocsPerRun(20, func() {
		_, next, err := memory.decode(TypesConfig{}, raw[i%2])
		if err != nil {
			t.Fatal(err)
		}
		runtime.KeepAlive(kept) // until there is the next, as in a cluster
		kept = next
		i++
	})
	if n > 100 {
		t.Errorf("decoding one change of 10,000 endpoints allocates %v, want at most 100", n)
	}
}

func BenchmarkOneChangeOf10000Endpoints(b *testing.B) {
	raw, memory := oneChange(b), new(assignmentMemory)
	_, kept, _ := memory.decode(TypesConfig{}, raw[1])
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, next, err := memory.decode(TypesConfig{}, raw[i%2])
		if err != nil {
			b.Fatal(err)
		}
		runtime.KeepAlive(kept) // until there is the next, as in a cluster
		kept = next
	}
}

func BenchmarkDecode10000Endpoints(b *testing.B) {
	raw := oneChange(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := new(assignmentMemory).decode(TypesConfig{}, raw[0]); err != nil {
			b.Fatal(err)
		}
	}
}
