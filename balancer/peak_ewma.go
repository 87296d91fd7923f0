package balancer

import (
	"math"
	"sync/atomic"
	"time"
)

// EWMA are the parameters of peak_ewma
// (envoy.extensions.load_balancing_policies.peak_ewma.v3alpha.PeakEwma). Of two
// endpoints drawn at random a call goes to the one with the lower cost:
//
//	cost = latency × (calls in flight + 1)
//
// The latency is Finagle's peak-sensitive moving average: an answer slower than the
// average becomes the average at once; what is faster counts only by and by, with a
// weight of 1 - e^(-t/DecayTime) after a time t; and without answers the average
// decays towards zero with e^(-t/DecayTime), so that an endpoint that was slow is tried
// again. In Envoy slow answers, too, count by and by, and nothing decays. Answers that
// are not slower than the average are taken together for an AggregationInterval, as in
// Envoy.
//
// An endpoint of which no answer is known costs DefaultRTT while it has no calls, and
// Penalty + calls in flight while it has: it is tried, by one call at a time. Weights of
// endpoints do not count.
//
// The latency is the time to the answer's first byte: of an HTTP response its header,
// of a gRPC stream its first message, of a unary gRPC call its end. A call that ended
// without an answer can only raise the average, by the time that it waited. Fast errors
// are fast answers: what keeps calls away from those is outlier detection.
type EWMA struct {
	// DecayTime is the time constant of the average. Zero means 10 s.
	DecayTime time.Duration
	// AggregationInterval is how often averages are brought up to date. Zero means
	// 100 ms; at least 10 ms.
	AggregationInterval time.Duration
	// DefaultRTT is what an endpoint without a sample costs. Zero means 10 ms.
	DefaultRTT time.Duration
	// Penalty is, in milliseconds, what such an endpoint costs while it has calls. The
	// compiler writes Envoy's default, 1,000,000.
	Penalty float64
}

// The defaults of EWMA.
const (
	DefaultDecayTime           = 10 * time.Second
	DefaultAggregationInterval = 100 * time.Millisecond
	DefaultRTT                 = 10 * time.Millisecond
	DefaultPenalty             = 1_000_000
	minAggregationInterval     = 10 * time.Millisecond
)

// peakEWMA is the power of two choices over costs.
type peakEWMA struct {
	links               []*Link
	defaultRTT, penalty float64 // milliseconds
}

func newPeakEWMA(p *EWMA, links []*Link) *peakEWMA {
	rtt := p.DefaultRTT
	if rtt <= 0 {
		rtt = DefaultRTT
	}
	return &peakEWMA{links, milliseconds(rtt), p.Penalty}
}

func (p *peakEWMA) choose() *Link {
	first, second := drawTwo(p.links)
	if p.cost(second.endpoint) < p.cost(first.endpoint) {
		return second
	}
	return first
}

func (p *peakEWMA) cost(e *Endpoint) float64 {
	active := float64(e.Active())
	switch latency := e.latency.average(); {
	case latency > 0:
		return latency * (active + 1)
	case active > 0:
		return p.penalty + active
	default:
		return p.defaultRTT
	}
}

// latency is the moving average of an endpoint's latencies. Nothing here needs a clock
// but the folding, which the cluster does.
type latency struct {
	bits atomic.Uint64 // the average, in milliseconds, a float64's; 0 before any sample
	// samples since the last folding: their number above sampleBits, and the sum of
	// their microseconds below.
	samples atomic.Uint64
}

const (
	sampleBits = 44
	longest    = time.Hour // more says nothing, and many would overflow their sum
	// faint is an average, in milliseconds, that there is no use in letting decay.
	faint = 1e-3
)

func (l *latency) average() float64 { return math.Float64frombits(l.bits.Load()) }

// observe takes in an answer's latency.
func (l *latency) observe(d time.Duration) {
	d = min(max(d, 0), longest)
	l.samples.Add(1<<sampleBits | uint64(d/time.Microsecond))
	l.raise(d)
}

// raise makes the average at least d.
func (l *latency) raise(d time.Duration) {
	ms := max(milliseconds(min(d, longest)), faint)
	for {
		before := l.bits.Load()
		if ms <= math.Float64frombits(before) || l.bits.CompareAndSwap(before, math.Float64bits(ms)) {
			return
		}
	}
}

// fold takes the samples of an interval into the average, in which the past has a
// part. It reports whether another folding will change anything.
func (l *latency) fold(past float64) bool {
	if l.bits.Load() == 0 {
		return false
	}
	mean := 0.0
	if s := l.samples.Swap(0); s > 0 {
		if n := s >> sampleBits; n > 0 {
			mean = float64(s&(1<<sampleBits-1)) / float64(n) / 1000
		}
	}
	for {
		before := l.bits.Load()
		after := max(faint, math.Float64frombits(before)*past+mean*(1-past))
		if l.bits.CompareAndSwap(before, math.Float64bits(after)) {
			return after > faint
		}
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Answered says how long an attempt's answer took to begin. It may be called once for a
// pick, as soon as that is known, and only counts where WantsLatency.
func (l *Link) Answered(after time.Duration) {
	if l.WantsLatency() {
		l.endpoint.latency.observe(after)
		l.endpoint.cluster.averages.start(l.endpoint.cluster)
	}
}

// Unanswered says, in place of Answered, how long an attempt waited for an answer that
// did not come: it would have taken longer.
func (l *Link) Unanswered(after time.Duration) {
	if l.WantsLatency() {
		l.endpoint.latency.raise(after)
		l.endpoint.cluster.averages.start(l.endpoint.cluster)
	}
}

// averages keeps the latencies of a cluster's endpoints up to date, for as long as there
// is something that changes.
type averages struct {
	running atomic.Bool
	last    time.Time // owned by who set running
}

// start is for the calls, which wait for no lock.
func (a *averages) start(c *Cluster) {
	if !a.running.Load() && !a.running.Swap(true) {
		a.last = time.Now()
		time.AfterFunc(minAggregationInterval, func() { a.fold(c) })
	}
}

func (a *averages) fold(c *Cluster) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.config == nil || c.config.Policy.Kind != PeakEWMA {
		a.running.Store(false)
		return
	}
	p := &c.config.Policy.EWMA
	decay, every := p.DecayTime, p.AggregationInterval
	if decay <= 0 {
		decay = DefaultDecayTime
	}
	if every <= 0 {
		every = DefaultAggregationInterval
	}
	now := time.Now()
	past := math.Exp(-float64(now.Sub(a.last)) / float64(decay))
	a.last = now
	changing := false
	fold := func(s *snapshot) {
		for _, m := range s.members {
			changing = m.endpoint.latency.fold(past) || changing
		}
	}
	fold(c.snapshot)
	if c.snapshot.logical != nil {
		fold(c.snapshot.logical)
	}
	if !changing {
		a.running.Store(false)
		return
	}
	time.AfterFunc(max(every, minAggregationInterval), func() { a.fold(c) })
}
