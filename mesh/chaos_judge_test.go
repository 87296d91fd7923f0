package mesh_test

import (
	"runtime"
	"time"

	"github.com/weft-mesh/weft/mesh"
)

// judge holds the run, which took d, to what policy promises. The margins are wide: what they
// have to tell is whether each part of it acts at all.
func (r *chaosRun) judge(d time.Duration) {
	for client, t := range r.tallies {
		if t.late > 50*time.Millisecond {
			r.Errorf("%s: a call outlived its deadline by %v", client, t.late)
		}
	}
	bare, full, better := r.of(stock), r.of("all"), r.weather.better
	if d < time.Minute {
		better = r.weather.soon
	}
	if float64(full.failed*bare.calls)*better > float64(bare.failed*full.calls) {
		r.Errorf("%d of %d calls fail with policy, and %d of %d of stock clients", full.failed, full.calls, bare.failed, bare.calls)
	}
	attempts, inVain := r.amplification("all")
	if attempts > 1.25 {
		r.Errorf("%.3f attempts for each call, want hardly more than the budget of a fifth", attempts)
	}
	t := &r.turns
	if t.opened[0] == 0 || t.probed[0] == 0 || t.closed[0] == 0 || t.ejected == 0 {
		r.Error("breakers of endpoints, and outlier detection, have not done all that they do")
	}
	if r.weather.out > 0 {
		if t.opened[1] == 0 || t.probed[1] == 0 || t.closed[1] == 0 {
			r.Error("breakers of clusters have not done all that they do")
		}
		if _, without := r.amplification("hedges"); inVain*2 > without {
			r.Errorf("%.3f attempts for each call while no backend is available, and %.3f without breakers", inVain, without)
		}
	}
	if r.weather.well <= 1 {
		r.judgeHarsh(attempts)
	}
}

// judgeHarsh is about what shows only where there is much trouble.
func (r *chaosRun) judgeHarsh(attempts float64) {
	if without, _ := r.amplification("hedges"); attempts >= without {
		r.Errorf("%.3f attempts for each call, and %.3f without breakers and outlier detection", attempts, without)
	}
	hedged := []string{"unary", "http", "h2c"}
	bare, slow, fast := r.of(stock, hedged...), r.of("retries", hedged...), r.of("hedges", hedged...)
	for client, t := range map[string]*tally{"stock": bare, "retries": slow} {
		if fast.percentile(0.99)*2 > t.percentile(0.99) {
			r.Errorf("one call in a hundred takes longer than %v with hedges, and than %v of %s", fast.percentile(0.99), t.percentile(0.99), client)
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

// resting is what there is when no calls are made.
type resting struct {
	calls      int // so far
	heap       int64
	goroutines int
}

// rest has all be idle for an hour: connections close, and timers that nobody stopped do
// not hold what they are of any more.
func (r *chaosRun) rest() resting {
	for _, c := range r.clients {
		c.CloseIdleConnections()
	}
	time.Sleep(time.Hour)
	var calls int
	for _, t := range r.tallies {
		calls += len(t.took)
	}
	for range 3 { // finalizers and cleanups make garbage of their own
		runtime.GC()
	}
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return resting{calls, int64(s.HeapAlloc), runtime.NumGoroutine()}
}

// judgeRest expects that as much is left of many calls as of some.
func (r *chaosRun) judgeRest(some, many resting) {
	calls, grown := many.calls-some.calls, many.heap-some.heap
	r.Logf("after %d calls %d KiB and %d goroutines are left, after %d more %d KiB and %d", some.calls, some.heap>>10, some.goroutines, calls, many.heap>>10, many.goroutines)
	if grown > 128*int64(calls) { // 8 are the time that the call took; the least of an attempt's state is 256
		r.Errorf("%d bytes more are in use after %d calls more", grown, calls)
	}
	if many.goroutines > some.goroutines+chaosBackends {
		r.Errorf("%d goroutines more after %d calls more", many.goroutines-some.goroutines, calls)
	}
	if n := r.open(); n != 0 {
		r.Errorf("%d connections are open after an hour", n)
	}
	for cluster, n := range inFlight(r.mesh) {
		if n != 0 {
			r.Errorf("%s: %d calls, retries or connections are counted after an hour", cluster, n)
		}
	}
}
