package resilience

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// byRatio opens when half of at least four calls within 10 s failed, for 5 s.
var byRatio = BreakerConfig{FailurePercent: 50, MinimumRequests: 4, Interval: 10 * time.Second, OpenTime: 5 * time.Second}

// byRow opens for three failures in a row, for 5 s.
var byRow = BreakerConfig{ConsecutiveFailures: 3, OpenTime: 5 * time.Second}

// TestBreaker has calls end as a script says: o and x are calls that succeed and fail, - is
// one that was cancelled, and . is a second. p, P and / are probes that succeed, fail and are
// cancelled, and ! a probe that is not let through.
func TestBreaker(t *testing.T) {
	probes := byRow
	probes.Probes = 2
	both := byRatio
	both.ConsecutiveFailures = 3
	for _, c := range []struct {
		name   string
		config BreakerConfig
		script string
		want   BreakerState
	}{
		{"closed", byRow, "", BreakerClosed},
		{"row", byRow, "xxx", BreakerOpen},
		{"broken row", byRow, "xxoxx", BreakerClosed},
		{"row after another", byRow, "xxoxxx", BreakerOpen},
		{"long row", byRow, "x......x............................x", BreakerOpen},
		{"row with a cancelled call", byRow, "xx-x", BreakerOpen},
		{"open", byRow, "xxx....!", BreakerOpen},
		{"open time is up", byRow, "xxx.....", BreakerHalfOpen},
		{"what comes while open", byRow, "xxxoooxxx.....", BreakerHalfOpen},
		{"probe", byRow, "xxx.....p", BreakerClosed},
		{"probe fails", byRow, "xxx.....P....!", BreakerOpen},
		{"probe after a probe", byRow, "xxx.....P.....p", BreakerClosed},
		{"cancelled probe", byRow, "xxx...../", BreakerHalfOpen},
		{"probe after a cancelled one", byRow, "xxx...../p", BreakerClosed},
		{"calls from before", byRow, "xxx.....ooxx", BreakerHalfOpen},
		{"row begins anew", byRow, "xxx.....pxx", BreakerClosed},
		{"one of two probes", probes, "xxx.....p", BreakerHalfOpen},
		{"two probes", probes, "xxx.....pp", BreakerClosed},
		{"second probe fails", probes, "xxx.....pP", BreakerOpen},
		{"half", byRatio, "ooxx", BreakerOpen},
		{"less than half", byRatio, "oooxx", BreakerClosed},
		{"too few", byRatio, "xxx", BreakerClosed},
		{"enough with a failure", byRatio, "xxxo", BreakerClosed},
		{"enough", byRatio, "xxxx", BreakerOpen},
		{"cancelled calls do not count", byRatio, "x-x-x---", BreakerClosed},
		{"successes go out of the window", byRatio, "oooooooo..........xxxx", BreakerOpen},
		{"in the window", byRatio, "oooooooo.........xxxx", BreakerClosed},
		{"failures go out of the window", byRatio, "xxx..........x", BreakerClosed},
		{"window begins anew", byRatio, "xxxx.....pxxx", BreakerClosed},
		{"successes do, too", byRatio, "oooxxx.....pxxxx", BreakerOpen},
		{"ratio of both", both, "oxox", BreakerOpen},
		{"row of both", both, "ooooooooooxxx", BreakerOpen},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := NewBreaker(c.config, nil)
				defer b.Close()
				for i, step := range c.script {
					switch step {
					case 'o', 'x', '-':
						b.Learn(map[rune]Verdict{'o': Success, 'x': Failure, '-': NoVerdict}[step], 0)
					case 'p', 'P', '/':
						p := b.Probe()
						if p == nil {
							t.Fatalf("no probe at %s^%s", c.script[:i], c.script[i:])
						}
						if b.Admits() || b.Probe() != nil {
							t.Errorf("a second probe at %s^%s", c.script[:i], c.script[i:])
						}
						p.Done(map[rune]Verdict{'p': Success, 'P': Failure, '/': NoVerdict}[step])
					case '!':
						if b.Probe() != nil {
							t.Errorf("a probe at %s^%s", c.script[:i], c.script[i:])
						}
					case '.':
						time.Sleep(time.Second + time.Microsecond)
						synctest.Wait()
					}
				}
				if got := b.State(); got != c.want {
					t.Errorf("after %s: %s, want %s", c.script, got, c.want)
				}
			})
		})
	}
}

// TestBreakerEpoch does not heed calls that began before the breaker closed.
func TestBreakerEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker(byRow, nil)
		defer b.Close()
		before := b.Epoch()
		for range 3 {
			b.Learn(Failure, before)
		}
		time.Sleep(6 * time.Second)
		b.Probe().Done(Success)
		for range 10 {
			b.Learn(Failure, before)
		}
		if !b.Closed() {
			t.Error("calls from before opened the breaker again")
		}
		for range 3 {
			b.Learn(Failure, b.Epoch())
		}
		if b.Closed() {
			t.Error("calls from after did not")
		}
	})
}

// TestSlowProbe gives the place of a probe that takes too long to another, and does not
// heed it any more.
func TestSlowProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker(byRow, nil)
		defer b.Close()
		for range 3 {
			b.Learn(Failure, 0)
		}
		time.Sleep(6 * time.Second)
		first := b.Probe()
		time.Sleep(4 * time.Second)
		if b.Probe() != nil {
			t.Error("another probe before its time")
		}
		time.Sleep(2 * time.Second)
		second := b.Probe()
		if second == nil {
			t.Fatal("no second probe")
		}
		first.Done(Success)
		if b.State() != BreakerHalfOpen {
			t.Errorf("the first probe made the breaker %s", b.State())
		}
		second.Done(Success)
		second.Done(Failure)
		if b.State() != BreakerClosed {
			t.Errorf("after the second, %s", b.State())
		}
	})
}

// TestBreakerTells says each change to who asked, and the status to who looks.
func TestBreakerTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var told []string
		b := NewBreaker(byRatio, func(from, to BreakerState) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprint(from, " ", to))
		})
		began := time.Now()
		for _, v := range []Verdict{Success, Success, Success, Failure} {
			b.Learn(v, 0)
		}
		want := BreakerStatus{State: BreakerClosed, Since: began, Successes: 3, Failures: 1, ConsecutiveFailures: 1}
		if diff := cmp.Diff(want, b.Status()); diff != "" {
			t.Errorf("closed (-want +got):\n%s", diff)
		}
		b.Learn(Failure, 0)
		b.Learn(Failure, 0)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		probe := b.Probe()
		want = BreakerStatus{State: BreakerHalfOpen, Since: began.Add(5*time.Second + 1), Probing: true}
		if diff := cmp.Diff(want, b.Status()); diff != "" {
			t.Errorf("half open (-want +got):\n%s", diff)
		}
		probe.Done(Failure)
		b.Close()
		time.Sleep(time.Hour)
		synctest.Wait()
		if diff := cmp.Diff([]string{"closed open", "open half-open", "half-open open"}, told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

// TestNilBreaker never opens.
func TestNilBreaker(t *testing.T) {
	var b *Breaker
	b.Learn(Failure, 0)
	if !b.Closed() || !b.Admits() || b.Probe() != nil || b.State() != BreakerClosed || b.Status() != (BreakerStatus{}) {
		t.Error("a nil breaker is one")
	}
	b.Close()
}

// modelBreaker is a breaker that remembers every call.
type modelBreaker struct {
	BreakerConfig
	state     BreakerState
	began     time.Time // of the state
	calls     []modelCall
	successes uint32 // of probes
	probing   bool
}

type modelCall struct {
	at     time.Time
	failed bool
}

func (m *modelBreaker) to(s BreakerState) {
	m.state, m.began, m.calls, m.successes, m.probing = s, time.Now(), nil, 0, false
}

func (m *modelBreaker) learn(failed bool) {
	if m.state != BreakerClosed {
		return
	}
	m.calls = append(m.calls, modelCall{time.Now(), failed})
	if !failed {
		return
	}
	var total, failures, row uint32
	for _, c := range m.calls {
		// The window is of whole tenths, of which this is one.
		if tenth := m.Interval / 10; m.FailurePercent > 0 && time.Since(m.began)/tenth-c.at.Sub(m.began)/tenth >= 10 {
			continue
		}
		total++
		row++
		if c.failed {
			failures++
		} else {
			row = 0
		}
	}
	if m.ConsecutiveFailures > 0 && row >= m.ConsecutiveFailures ||
		m.FailurePercent > 0 && total >= m.MinimumRequests && float64(failures)*100 >= m.FailurePercent*float64(total) {
		m.to(BreakerOpen)
	}
}

func (m *modelBreaker) pass() {
	if m.state == BreakerOpen && time.Since(m.began) > m.OpenTime {
		m.to(BreakerHalfOpen)
	}
}

func (m *modelBreaker) probed(v Verdict) {
	m.probing = false
	switch v {
	case Failure:
		m.to(BreakerOpen)
	case Success:
		if m.successes++; m.successes >= max(1, m.Probes) {
			m.to(BreakerClosed)
		}
	}
}

// TestBreakerModel holds breakers against a naive one, under random calls.
func TestBreakerModel(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 5))
		config := BreakerConfig{OpenTime: time.Duration(1+r.IntN(5)) * time.Second, Probes: r.Uint32N(4)}
		if seed%3 != 0 {
			config.FailurePercent = float64(1 + r.IntN(100))
			config.MinimumRequests = r.Uint32N(20)
			config.Interval = time.Duration(1+r.IntN(10)) * time.Second
		}
		if seed%3 != 1 {
			config.ConsecutiveFailures = 1 + r.Uint32N(6)
		}
		failing := r.Float64()
		synctest.Test(t, func(t *testing.T) {
			b, m := NewBreaker(config, nil), &modelBreaker{BreakerConfig: config}
			defer b.Close()
			m.to(BreakerClosed)
			var probe *Probe
			var probeUntil time.Time
			for step := range 500 {
				switch n := r.IntN(10); {
				case n < 6:
					v := Success
					if r.Float64() < failing {
						v = Failure
					}
					b.Learn(v, 0)
					m.learn(v == Failure)
				case n < 8:
					want := m.state == BreakerHalfOpen && !m.probing
					if got := b.Probe(); (got != nil) != want {
						t.Fatalf("seed %d, step %d: probe %v, want %v (%+v)", seed, step, got != nil, want, config)
					} else if got != nil {
						probe, m.probing, probeUntil = got, true, time.Now().Add(config.OpenTime)
					}
				case n < 9 && m.probing:
					v := Verdict(r.IntN(3))
					probe.Done(v)
					m.probed(v)
				default:
					time.Sleep(time.Duration(1+r.Int64N(int64(config.OpenTime)/2)) | 1)
					synctest.Wait()
					if m.pass(); m.probing && time.Now().After(probeUntil) {
						m.probing = false
					}
				}
				if b.State() != m.state {
					t.Fatalf("seed %d, step %d: %s, want %s (%+v)", seed, step, b.State(), m.state, config)
				}
			}
		})
	}
}

// TestBreakerRace has a breaker used by many at a time.
func TestBreakerRace(t *testing.T) {
	c := BreakerConfig{ConsecutiveFailures: 5, FailurePercent: 30, MinimumRequests: 10, Interval: 100 * time.Millisecond, OpenTime: time.Microsecond, Probes: 2}
	opened := make(chan struct{}, 1)
	b := NewBreaker(c, func(_, to BreakerState) {
		select {
		case opened <- struct{}{}:
		default:
		}
	})
	defer b.Close()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for n := range 5000 {
				epoch := b.Epoch()
				v := Verdict(rand.N(3))
				if p := b.Probe(); p != nil {
					p.Done(v)
				} else if b.Admits() {
					b.Learn(v, epoch)
				}
				if n%100 == 0 {
					b.Status()
				}
			}
		})
	}
	all.Wait()
	<-opened
}

// BenchmarkBreaker is what a call that succeeds, or fails, costs.
func BenchmarkBreaker(b *testing.B) {
	calm := byRatio
	calm.MinimumRequests = 1 << 31
	row := byRow
	row.ConsecutiveFailures = 1 << 31
	for _, c := range []struct {
		name    string
		config  BreakerConfig
		verdict Verdict
	}{{"ratio/success", calm, Success}, {"row/success", row, Success}, {"ratio/failure", calm, Failure}} {
		for _, callers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", c.name, callers), func(b *testing.B) {
				br := NewBreaker(c.config, nil)
				defer br.Close()
				b.ReportAllocs()
				b.SetParallelism((callers + 1) / 2)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						br.Learn(c.verdict, 0)
					}
				})
			})
		}
	}
}
