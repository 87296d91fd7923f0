package balancer

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// tail calls an endpoint of ten, of which e0 takes 200 ms for a call and the others 10,
// with some 500 calls a second for a minute of simulated time. It returns the latencies
// below which 95 and 99 of a hundred calls stayed, and the share of calls that e0 got.
func tail(t *testing.T, p Policy) (p95, p99 time.Duration, slow float64) {
	const calls = 30_000
	synctest.Test(t, func(t *testing.T) {
		r := policyRig(t, p, addresses("e", 10))
		random := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		var latencies []time.Duration
		n := 0
		for range calls {
			time.Sleep(time.Duration(random.ExpFloat64() * float64(2*time.Millisecond)))
			l, err := r.view.Pick(PickInfo{})
			if err != nil {
				t.Fatal(err)
			}
			takes := 10 * time.Millisecond
			if l.Endpoint().Address() == "e0:1" {
				takes = 200 * time.Millisecond
				n++
			}
			go func() {
				time.Sleep(takes)
				l.Answered(takes)
				l.Done(Outcome{})
				mu.Lock()
				defer mu.Unlock()
				latencies = append(latencies, takes)
			}()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		slices.Sort(latencies)
		p95, p99, slow = latencies[calls*95/100], latencies[calls*99/100], float64(n)/calls
	})
	return p95, p99, slow
}

// Round robin has a tenth of the calls wait for a slow endpoint: its 95th percentile is
// the slow endpoint's latency. least_request keeps that to those calls that see no
// endpoint with fewer in flight, under 3 in 100; peak_ewma to under 1 in 100.
func TestTailLatency(t *testing.T) {
	for _, test := range []struct {
		name        string
		policy      Policy
		p95, p99    time.Duration
		least, most float64 // of the share of the slow endpoint
	}{
		{"round_robin", Policy{}, 200 * time.Millisecond, 200 * time.Millisecond, 0.1, 0.1},
		{"random", Policy{Kind: Random}, 200 * time.Millisecond, 200 * time.Millisecond, 0.09, 0.11},
		{"least_request", Policy{Kind: LeastRequest}, 10 * time.Millisecond, 200 * time.Millisecond, 0, 0.03},
		{"least_request, all", Policy{Kind: LeastRequest, FullScan: true}, 10 * time.Millisecond, 200 * time.Millisecond, 0, 0.03},
		{"peak_ewma", Policy{Kind: PeakEWMA, EWMA: EWMA{Penalty: DefaultPenalty}}, 10 * time.Millisecond, 10 * time.Millisecond, 0, 0.01},
	} {
		p95, p99, slow := tail(t, test.policy)
		t.Logf("%s: p95 %v, p99 %v, %.4f to the slow endpoint", test.name, p95, p99, slow)
		if p95 != test.p95 || p99 > test.p99 {
			t.Errorf("%s: 95 of 100 calls within %v, 99 within %v; want %v and %v", test.name, p95, p99, test.p95, test.p99)
		}
		if slow < test.least-1e-4 || slow > test.most+1e-4 {
			t.Errorf("%s: the slow endpoint got %.4f of the calls, want %.2f to %.2f", test.name, slow, test.least, test.most)
		}
	}
}
