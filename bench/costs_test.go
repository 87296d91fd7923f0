//go:build !race

// The race detector allocates of its own and has sync.Pool drop what it is given at
// random, so that nothing is exact under it.

package main

import (
	"context"
	"runtime/debug"
	"testing"
)

// TestCallsAllocateLittleMore counts what a call allocates on the client's side,
// along the bare path and along Weft's. It is exact but for what happens beside a call:
// a pool that is empty, a buffer that grows, a timer of the runtime. All of that only
// adds; so the least of several slots of 1,000 calls is taken, and counts must be
// within slack of the bound.
func TestCallsAllocateLittleMore(t *testing.T) {
	const (
		slack      = 0.25 // allocations a call
		slackBytes = 32   // bytes a call
	)
	for _, c := range []struct {
		protocol   string
		allocs     float64 // more than the bare call's
		bytes      float64
		moreRoutes bool   // there is a row with 1,000 routes
		peer       string // a row that must allocate more; empty for none
	}{
		{"gRPC", 3, 256, true, xdsPeer},
		{"gRPC stream, per message", 0, 0, false, ""},
		{"HTTP/1.1", -7, -600, true, "httplb over 3"}, // an http.Transport finds a connection for each call
		{"h2c", -8, -800, false, ""},
		{"h2c, GET", -6, -500, false, ""}, // one by net/http itself: Weft's host has no port
	} {
		t.Run(c.protocol, func(t *testing.T) {
			of := leastAllocs(t, c.protocol)
			bare, weft := of(0, 0), of("Weft, 100 routes", 0)
			t.Logf("allocations: bare %.2f, Weft %.2f; bytes: %.0f, %.0f", bare.Allocs, weft.Allocs, bare.Bytes, weft.Bytes)
			if more := weft.Allocs - bare.Allocs; more > c.allocs+slack {
				t.Errorf("Weft allocates %.2f more than the bare call's %.2f, want at most %v", more, bare.Allocs, c.allocs)
			}
			if more := weft.Bytes - bare.Bytes; more > c.bytes+slackBytes {
				t.Errorf("Weft allocates %.0f bytes more than the bare call's %.0f, want at most %v", more, bare.Bytes, c.bytes)
			}
			if !c.moreRoutes {
				return
			}
			if c.peer != "" {
				if peer := of(c.peer, 0); weft.Allocs >= peer.Allocs {
					t.Errorf("Weft allocates %.2f with 100 routes, %s %.2f", weft.Allocs, c.peer, peer.Allocs)
				}
			}
			if many := of("Weft, 1,000 routes", weft.Allocs+slack); many.Allocs > weft.Allocs+slack {
				t.Errorf("with 1,000 routes Weft allocates %.2f, with 100 %.2f: want no more", many.Allocs, weft.Allocs)
			}
		})
	}
}

// leastAllocs returns a function that measures a row of the protocol's table, by name
// or by place. On a busy machine more happens beside calls: where that must not count, it
// goes on until no more than most are allocated, within reason.
func leastAllocs(t *testing.T, protocol string) func(row any, most float64) sample {
	s := startedServers(t)
	m := testMesh(t, s)
	return func(row any, most float64) (least sample) {
		t.Helper()
		p := findPath(t, protocol, row)
		c, err := p.open(s, m)
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		defer c.close()
		// No collection, so that pools stay filled.
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		for i := 0; i < 6 || i < 60 && most > 0 && least.Allocs > most; i++ {
			got, err := measureCalls(c, 1, 1000)
			if err != nil {
				t.Fatalf("%s: %v", p.name, err)
			}
			switch {
			case i == 0: // connects
			case i == 1:
				least = got
			default:
				least.Allocs, least.Bytes = min(least.Allocs, got.Allocs), min(least.Bytes, got.Bytes)
			}
		}
		return least
	}
}

func findPath(t *testing.T, protocol string, row any) path {
	t.Helper()
	for _, p := range protocols {
		if p.name != protocol {
			continue
		}
		for i, path := range p.paths {
			if row == any(i) || row == any(path.name) {
				return path
			}
		}
	}
	t.Fatalf("no row %v of %s", row, protocol)
	return path{}
}

// targetBound is what a further target may cost.
type targetBound struct {
	name           string
	open           func(context.Context, *servers, int) (targetCost, error)
	kb, goroutines float64
	streamEach     bool // each target has an ADS stream, not all one
}

var (
	targetBounds = []targetBound{
		{"Weft, gRPC", weftTargets, 90, 9, false},
		{"Weft, HTTP", weftHTTPTargets, 90, 9, false},
		{"Weft, HTTP, the same target", weftHTTPHandles, 4, 0, false},
	}
	xdsTargetBounds []targetBound // where grpc-go's xDS is a peer
)

// TestFurtherTargetsAreCheap counts ADS streams in the control plane, and goroutines
// and memory here. Goroutines are exact. Memory is what the runtime has after it
// collected, and its bounds are the design's.
func TestFurtherTargetsAreCheap(t *testing.T) {
	const n = 12
	s := startedServers(t)
	for _, c := range append(targetBounds, xdsTargetBounds...) {
		got, err := c.open(t.Context(), s, n)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		t.Logf("%s: %.1f KB, %.1f goroutines, %d ADS streams", c.name, got.bytes/1000, got.goroutines, got.streams)
		want := 1
		if c.streamEach {
			want = n + firstTargets
		}
		if got.streams != want {
			t.Errorf("%s: %d targets have %d ADS streams, want %d", c.name, n+firstTargets, got.streams, want)
		}
		if got.goroutines > c.goroutines {
			t.Errorf("%s: a further target has %.1f goroutines, want at most %v", c.name, got.goroutines, c.goroutines)
		}
		if got.bytes > c.kb*1000 {
			t.Errorf("%s: a further target takes %.1f KB, want at most %v", c.name, got.bytes/1000, c.kb)
		}
	}
}
