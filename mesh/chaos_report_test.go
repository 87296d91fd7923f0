package mesh_test

import (
	"context"
	"slices"
	"sync"
	"time"
)

// tally is what became of the calls of one kind by one client, but for those made while no
// backend was available.
type tally struct {
	mu     sync.Mutex
	calls  int
	failed int
	vain   int             // calls made while no backend was available
	wrong  string          // an answer that is another call's; empty for none
	took   []time.Duration // of all
	late   time.Duration   // after the deadline, at most
}

// count makes a call and counts what becomes of it.
func (r *chaosRun) count(t *tally, k chaosKind, client, text string) {
	ctx, cancel := context.WithTimeout(context.Background(), chaosDeadline)
	defer cancel()
	vain := r.out.Load()
	begun := time.Now()
	got, err := k.call(ctx, client, text)
	took := time.Since(begun)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.late = max(t.late, took-chaosDeadline)
	if err == nil && got != text {
		t.wrong = got
	}
	if vain {
		t.vain++
		return
	}
	t.calls++
	t.took = append(t.took, took)
	if err != nil {
		t.failed++
	}
}

// percentile is what that part of the calls took at most.
func (t *tally) percentile(p float64) time.Duration {
	if len(t.took) == 0 { // the machine stalled for as long as the run took
		return 0
	}
	slices.Sort(t.took)
	return t.took[int(p*float64(len(t.took)-1))]
}

func (t *tally) successRate() float64 { return 1 - float64(t.failed)/float64(t.calls) }

// of are a client's calls, of these kinds or of all.
func (r *chaosRun) of(client string, kinds ...string) *tally {
	all := &tally{}
	for _, k := range r.kinds {
		if len(kinds) > 0 && !slices.Contains(kinds, k.name) {
			continue
		}
		t := r.tallies[client+" "+k.name]
		all.calls += t.calls
		all.failed += t.failed
		all.vain += t.vain
		all.took = append(all.took, t.took...)
		all.late = max(all.late, t.late)
	}
	return all
}

// amplification is how many attempts reached the backends for each call, while there were
// any and while there were none.
func (r *chaosRun) amplification(client string) (all, vain float64) {
	var attempts, useless int64
	for _, b := range r.backends {
		attempts += of(&b.attempts, client).Load()
		useless += of(&b.useless, client).Load()
	}
	t := r.of(client)
	return float64(attempts-useless) / float64(t.calls), float64(useless) / float64(max(1, t.vain))
}

// report prints what calls came to, a line for each client and kind.
func (r *chaosRun) report() {
	w := r.weather
	r.Logf("%s, seed %d: %d backends, each well for %v of the time that it is in trouble, and none available for %v of %v; each call with a deadline of %v",
		w.name, w.seed, chaosBackends, w.well, w.out, chaosOutages, chaosDeadline)
	line := func(client, kind string, t *tally) {
		r.Logf("%-7s %-6s %6d calls, %6.2f %% succeed, p50 %v, p95 %v, p99 %v, late by at most %v", client, kind, t.calls, 100*t.successRate(),
			t.percentile(0.5).Round(100*time.Microsecond), t.percentile(0.95).Round(100*time.Microsecond), t.percentile(0.99).Round(100*time.Microsecond), t.late.Round(100*time.Microsecond))
	}
	for _, c := range chaosClients {
		for _, k := range r.kinds {
			line(c.name, k.name, r.tallies[c.name+" "+k.name])
		}
		line(c.name, "", r.of(c.name))
		attempts, vain := r.amplification(c.name)
		r.Logf("%-7s attempts per call at the backends: %.3f, and %.3f for %d calls while none was available", c.name, attempts, vain, r.of(c.name).vain)
	}
	t := &r.turns
	t.mu.Lock() // what ends late may still move a breaker
	defer t.mu.Unlock()
	r.Logf("breakers of endpoints opened %d times, admitted probes %d times and closed %d times, of clusters %d, %d and %d; %d endpoints were ejected, %d returned",
		t.opened[0], t.probed[0], t.closed[0], t.opened[1], t.probed[1], t.closed[1], t.ejected, t.returned)
	r.Logf("%d connections are open", r.open())
}
