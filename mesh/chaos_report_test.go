package mesh_test

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/weft-mesh/weft/mesh"
)

// withClient has an RPC say whose it is.
func withClient(ctx context.Context, client string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "client", client)
}

// tally is what became of the calls of one kind.
type tally struct {
	mu     sync.Mutex
	calls  int
	failed int
	wrong  string          // an answer that is another call's; empty for none
	took   []time.Duration // of all
	late   time.Duration   // after the deadline, at most
}

// count makes a call and counts what becomes of it.
func (t *tally) count(k chaosKind, client, text string) {
	ctx, cancel := context.WithTimeout(context.Background(), chaosDeadline)
	defer cancel()
	begun := time.Now()
	got, err := k.call(ctx, client, text)
	took := time.Since(begun)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls++
	t.took = append(t.took, took)
	t.late = max(t.late, took-chaosDeadline)
	switch {
	case err != nil:
		t.failed++
	case got != text:
		t.wrong = got
	}
}

// percentile is what that part of the calls took at most.
func (t *tally) percentile(p float64) time.Duration {
	slices.Sort(t.took)
	return t.took[int(p*float64(len(t.took)-1))]
}

func (t *tally) successRate() float64 { return 1 - float64(t.failed)/float64(t.calls) }

// calls are how many calls there were with a policy, or without.
func (r *chaosRun) calls(client string) (calls, failed int) {
	for _, k := range r.kinds {
		t := r.tallies[client+" "+k.name]
		calls += t.calls
		failed += t.failed
	}
	return calls, failed
}

// amplification is how many attempts reached the backends for each call.
func (r *chaosRun) amplification(client string) float64 {
	var attempts int64
	for _, b := range r.backends {
		attempts += b.reached(client).Load()
	}
	calls, _ := r.calls(client)
	return float64(attempts) / float64(calls)
}

// report prints the calls with and without policy side by side.
func (r *chaosRun) report(seed uint64) {
	r.Logf("seed %d; %d backends, each call with a deadline of %v", seed, chaosBackends, chaosDeadline)
	for _, k := range r.kinds {
		for _, client := range []string{"plain", "mesh"} {
			t := r.tallies[client+" "+k.name]
			r.Logf("%-6s %-5s %6d calls, %6.2f %% succeed, p50 %v, p99 %v, late by at most %v", k.name, client, t.calls, 100*t.successRate(),
				t.percentile(0.5).Round(100*time.Microsecond), t.percentile(0.99).Round(100*time.Microsecond), t.late.Round(100*time.Microsecond))
		}
	}
	for _, client := range []string{"plain", "mesh"} {
		r.Logf("%-5s attempts per call at the backends: %.3f", client, r.amplification(client))
	}
	r.Logf("%d connections are open", r.open())
}

// judge holds the run to what policy promises.
func (r *chaosRun) judge() {
	plain, plainFailed := r.calls("plain")
	calls, failed := r.calls("mesh")
	if failed*plain*5 > plainFailed*calls {
		r.Errorf("%d of %d calls fail with policy, %d of %d without", failed, calls, plainFailed, plain)
	}
	if a := r.amplification("mesh"); a > 1+chaosBudget {
		r.Errorf("%.3f attempts for each call, want at most %.2f", a, 1+chaosBudget)
	}
	for client, t := range r.tallies {
		if t.late > 50*time.Millisecond {
			r.Errorf("%s: a call outlived its deadline by %v", client, t.late)
		}
	}
}

// judgeAnswers holds it to what nothing excuses, such as a machine that is slow.
func (r *chaosRun) judgeAnswers() {
	for client, t := range r.tallies {
		if t.wrong != "" {
			r.Errorf("%s: a call was answered with %q", client, t.wrong)
		}
	}
	if n := mesh.Kept(r.mesh); n != 0 {
		r.Errorf("%d bytes of requests are kept", n)
	}
}
