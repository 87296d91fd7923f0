package balancer

import (
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// LoadWeights are the parameters of client_side_weighted_round_robin, which weighs
// endpoints by what they report of their load, whatever weights policy gives them
// (gRFC A58; envoy ClientSideWeightedRoundRobin). A report is worth
//
//	queries per second / (utilization + errors per second / queries per second × ErrorPenalty)
//
// An endpoint without a weight yet, or none any more, gets for gRPC the mean of the
// others' weights, as in gRFC A58, and for HTTP their median, as in Envoy. In place of an
// earliest-deadline-first queue, picks follow the same even schedule as weighted
// round_robin does, exact to within a millionth of the greatest weight.
type LoadWeights struct {
	// OutOfBand has endpoints report on a stream of their own (gRFC A51), not with their
	// answers. That takes a ReportingConn, which gRPC connections are. Others, HTTP's and
	// those that are counted (Connection.MaxPerEndpoint), go by the reports that come
	// with answers all the same.
	OutOfBand bool
	// ReportingPeriod is how often they are asked to, then. Zero means 10 s.
	ReportingPeriod time.Duration
	// Blackout is how long an endpoint must have been reporting for its weight to
	// count, from its first report on a connection or after an expiration on. The
	// compiler writes the default, 10 s; 0 is none.
	Blackout time.Duration
	// Expiration is how long a report counts. Zero means 3 min.
	Expiration time.Duration
	// Update is the time between two calculations of all weights. Zero means 1 s; at
	// least 100 ms.
	Update time.Duration
	// ErrorPenalty is at least 0. The compiler writes the default, 1.
	ErrorPenalty float64
	// Metrics name what of a report is its utilization: the greatest of them, if one is
	// above zero. They are cpu_utilization, mem_utilization, application_utilization,
	// and named_metrics.x, utilization.x and request_cost.x, of which an x of * is all.
	// For HTTP, as in Envoy, they come before application_utilization, for gRPC after
	// it (gRFC A114). What is left is cpu_utilization.
	Metrics []string
}

// The defaults of LoadWeights.
const (
	DefaultReportingPeriod  = 10 * time.Second
	DefaultBlackout         = 10 * time.Second
	DefaultWeightExpiration = 3 * time.Minute
	DefaultWeightUpdate     = time.Second
	minWeightUpdate         = 100 * time.Millisecond
)

// Load is what an endpoint reports of itself (xds.data.orca.v3.OrcaLoadReport without
// protos). Utilizations are shares of 1, though they may exceed it.
type Load struct {
	CPU, Memory, Application float64
	// QueriesPerSecond and ErrorsPerSecond are rps_fractional and eps.
	QueriesPerSecond, ErrorsPerSecond float64
	// Named, Utilizations and Costs are named_metrics, utilization and request_cost.
	Named, Utilizations, Costs map[string]float64
}

// utilization is what of a report weighs.
func (p *LoadWeights) utilization(l *Load, grpc bool) float64 {
	named := 0.0
	for _, name := range p.Metrics {
		if v := l.metric(name); v > named && !math.IsInf(v, 0) { // also not NaN
			named = v
		}
	}
	first, second := named, l.Application
	if grpc {
		first, second = second, first
	}
	switch {
	case first > 0:
		return first
	case second > 0:
		return second
	}
	return l.CPU
}

func (l *Load) metric(name string) float64 {
	switch name {
	case "cpu_utilization":
		return l.CPU
	case "mem_utilization":
		return l.Memory
	case "application_utilization":
		return l.Application
	}
	field, key, _ := strings.Cut(name, ".")
	var of map[string]float64
	switch field {
	case "named_metrics":
		of = l.Named
	case "utilization":
		of = l.Utilizations
	case "request_cost":
		of = l.Costs
	}
	if key != "*" {
		return of[key]
	}
	greatest := 0.0
	for _, v := range of {
		if v > greatest && !math.IsInf(v, 0) {
			greatest = v
		}
	}
	return greatest
}

// weight is what a report is worth, 0 for nothing.
func (p *LoadWeights) weight(l *Load, grpc bool) float64 {
	utilization := p.utilization(l, grpc)
	if !(l.QueriesPerSecond > 0) || !(utilization > 0) {
		return 0
	}
	if penalty := l.ErrorsPerSecond / l.QueriesPerSecond * p.ErrorPenalty; penalty > 0 {
		utilization += penalty
	}
	weight := l.QueriesPerSecond / utilization
	if math.IsNaN(weight) || math.IsInf(weight, 0) {
		return 0
	}
	return weight
}

// loadWeight is what a link knows of its endpoint's load.
type loadWeight struct {
	weight atomic.Uint64 // a float64's bits
	// Unix nanoseconds, of the newest report that was worth something and of the first
	// in an unbroken row of such; 0 for none.
	updated, since atomic.Int64
}

// ReportLoad tells what the endpoint said of its load, with an answer or out of band.
// It is ignored unless the policy goes by it. It may be called at any time and from
// any goroutine.
func (l *Link) ReportLoad(load *Load) {
	p := l.view.loadWeights.Load()
	if p == nil {
		return
	}
	weight := p.weight(load, l.view.options.GRPC)
	if weight <= 0 {
		return
	}
	if l.probing != nil {
		l = l.probing.of
	}
	if l.lane != nil {
		l = l.lane.pool.link // what one of an endpoint's connections says goes for all
	}
	w := l.load.Load()
	if w == nil {
		if w = new(loadWeight); !l.load.CompareAndSwap(nil, w) {
			w = l.load.Load()
		}
	}
	now := time.Now().UnixNano()
	last := w.updated.Swap(now)
	stale := last == 0 || time.Duration(now-last) >= p.expiration()
	if stale {
		w.since.Store(now)
	} else {
		w.since.CompareAndSwap(0, now)
	}
	w.weight.Store(math.Float64bits(weight))
	if stale {
		l.view.wake(nil) // weights are calculated for as long as there are reports
	}
}

// becameReady has what counts from a link's connection count from now.
func (l *Link) becameReady() {
	l.readySince.Store(time.Now().UnixNano())
	if w := l.load.Load(); w != nil {
		w.since.Store(0)
	}
}

// reported puts in the place of weights what the links' endpoints reported.
func (r *round) reported(p *Policy, links []*Link, weights []float64) {
	known := make([]float64, 0, len(links))
	for i, l := range links {
		weights[i] = 0
		w := l.load.Load()
		if w == nil {
			continue
		}
		age := r.now.Sub(time.Unix(0, w.updated.Load()))
		if age >= p.Load.expiration() {
			continue
		}
		r.wakeIn(p.Load.update())
		since := w.since.Load()
		if p.Load.Blackout > 0 && (since == 0 || r.now.Sub(time.Unix(0, since)) < p.Load.Blackout) {
			continue
		}
		weights[i] = math.Float64frombits(w.weight.Load())
		known = append(known, weights[i])
	}
	stand := 1.0
	switch {
	case len(known) == 0:
	case r.options.GRPC:
		stand = 0
		for _, w := range known {
			stand += w / float64(len(known))
		}
	default:
		slices.Sort(known)
		stand = known[len(known)/2]
	}
	for i := range weights {
		if weights[i] == 0 {
			weights[i] = stand
		}
	}
}

func (p *LoadWeights) expiration() time.Duration {
	if p.Expiration <= 0 {
		return DefaultWeightExpiration
	}
	return p.Expiration
}

func (p *LoadWeights) update() time.Duration {
	if p.Update <= 0 {
		return DefaultWeightUpdate
	}
	return max(p.Update, minWeightUpdate)
}

func (p *LoadWeights) reportingPeriod() time.Duration {
	if p.ReportingPeriod <= 0 {
		return DefaultReportingPeriod
	}
	return p.ReportingPeriod
}
