package balancer

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLoadWeight(t *testing.T) {
	named := map[string]float64{"queue": 0.4, "nan": math.NaN(), "inf": math.Inf(1)}
	for _, test := range []struct {
		name       string
		params     LoadWeights
		load       Load
		http, grpc float64
	}{
		{"cpu", LoadWeights{ErrorPenalty: 1}, Load{CPU: 0.5, QueriesPerSecond: 100}, 200, 200},
		{"application before cpu", LoadWeights{}, Load{CPU: 0.5, Application: 0.25, QueriesPerSecond: 100}, 400, 400},
		{"errors", LoadWeights{ErrorPenalty: 2}, Load{CPU: 0.5, QueriesPerSecond: 100, ErrorsPerSecond: 25}, 100, 100},
		{"no penalty", LoadWeights{}, Load{CPU: 0.5, QueriesPerSecond: 100, ErrorsPerSecond: 25}, 200, 200},
		{"metrics and application", LoadWeights{Metrics: []string{"named_metrics.queue"}}, Load{CPU: 1, Application: 0.2, QueriesPerSecond: 100, Named: named}, 250, 500},
		{"the greatest metric", LoadWeights{Metrics: []string{"mem_utilization", "named_metrics.queue", "cpu_utilization", "x", "named_metrics.none"}},
			Load{CPU: 0.1, Memory: 0.8, QueriesPerSecond: 100, Named: named}, 125, 125},
		{"metrics that say nothing", LoadWeights{Metrics: []string{"named_metrics.nan", "named_metrics.inf", "named_metrics.none"}}, Load{CPU: 0.5, QueriesPerSecond: 100, Named: named}, 200, 200},
		{"application as a metric", LoadWeights{Metrics: []string{"application_utilization", "mem_utilization"}}, Load{Application: 0.5, Memory: 1, QueriesPerSecond: 100}, 100, 200},
		{"all metrics of a kind", LoadWeights{Metrics: []string{"named_metrics.*", "request_cost.*"}}, Load{QueriesPerSecond: 100, Named: named, Costs: map[string]float64{"a": 0.5, "b": 0.1}}, 200, 200},
		{"utilizations", LoadWeights{Metrics: []string{"utilization.disk", "queue", "eps"}}, Load{CPU: 1, QueriesPerSecond: 100, ErrorsPerSecond: 9, Utilizations: map[string]float64{"disk": 0.25}}, 400, 400},
		{"no queries", LoadWeights{}, Load{CPU: 0.5}, 0, 0},
		{"no utilization", LoadWeights{ErrorPenalty: 1}, Load{QueriesPerSecond: 100, ErrorsPerSecond: 100}, 0, 0},
		{"negative", LoadWeights{}, Load{CPU: -1, QueriesPerSecond: 100}, 0, 0},
		{"negative errors", LoadWeights{ErrorPenalty: 1}, Load{CPU: 0.5, QueriesPerSecond: 100, ErrorsPerSecond: -100}, 200, 200},
		{"not a number", LoadWeights{}, Load{CPU: math.NaN(), QueriesPerSecond: math.NaN()}, 0, 0},
		{"infinite", LoadWeights{}, Load{CPU: 0.5, QueriesPerSecond: math.Inf(1)}, 0, 0},
		{"too small", LoadWeights{}, Load{CPU: math.SmallestNonzeroFloat64, QueriesPerSecond: math.MaxFloat64}, 0, 0},
	} {
		if got := test.params.weight(&test.load, false); math.Abs(got-test.http) > 1e-9 {
			t.Errorf("%s: %v over HTTP, want %v", test.name, got, test.http)
		}
		if got := test.params.weight(&test.load, true); math.Abs(got-test.grpc) > 1e-9 {
			t.Errorf("%s: %v over gRPC, want %v", test.name, got, test.grpc)
		}
	}
}

// tell has the endpoints that are given report weights, in units of 100 calls a second
// at full utilization.
func (r *rig) tell(weights map[string]float64) {
	synctest.Wait() // the links are the rebuild's while it runs
	for _, l := range r.view.links {
		if w, ok := weights[l.endpoint.Address()]; ok {
			l.ReportLoad(&Load{CPU: 1, QueriesPerSecond: 100 * w})
		}
	}
}

// Shares follow what is reported: when the blackout is over, while reports come, and
// not longer than they count.
func TestLoadWeightsShares(t *testing.T) {
	const n = 14_000
	even := map[string]float64{"e0:1": 0.25, "e1:1": 0.25, "e2:1": 0.25, "e3:1": 0.25}
	for _, options := range []ViewOptions{httpView, grpcView} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, options, &Config{Policy: Policy{Kind: ClientSideWeightedRoundRobin,
				Load: LoadWeights{Blackout: 10 * time.Second, Expiration: time.Minute}}}, one(weigh(1, 7, 1, 1)...))
			if options.GRPC {
				r.report(Ready, nil, "e0:1", "e1:1", "e2:1", "e3:1")
			}
			shares := func(what string, want map[string]float64) {
				t.Helper()
				synctest.Wait()
				counts := r.picks(n)
				for address, share := range want {
					if got := float64(counts[address]) / n; math.Abs(got-share) > 0.002 {
						t.Errorf("%s, gRPC %v: %s has %.4f of the calls, want %.4f", what, options.GRPC, address, got, share)
					}
				}
			}
			shares("before a report", even) // whatever the weights of policy are

			reports := map[string]float64{"e0:1": 1, "e1:1": 3, "e2:1": 8}
			r.tell(reports)
			time.Sleep(5 * time.Second)
			shares("in the blackout", even)
			for range 10 {
				time.Sleep(time.Second)
				r.tell(reports)
			}
			time.Sleep(1500 * time.Millisecond)
			// e3 says nothing: the mean is 4, the median 3.
			if options.GRPC {
				shares("as reported", map[string]float64{"e0:1": 1. / 16, "e1:1": 3. / 16, "e2:1": 8. / 16, "e3:1": 4. / 16})
			} else {
				shares("as reported", map[string]float64{"e0:1": 1. / 15, "e1:1": 3. / 15, "e2:1": 8. / 15, "e3:1": 3. / 15})
			}
			for range 11 {
				r.tell(map[string]float64{"e3:1": 4})
				time.Sleep(time.Second)
			}
			r.tell(map[string]float64{"e0:1": 4})
			time.Sleep(1500 * time.Millisecond)
			shares("after news", map[string]float64{"e0:1": 4. / 19, "e1:1": 3. / 19, "e2:1": 8. / 19, "e3:1": 4. / 19})

			if options.GRPC {
				// Another connection is another server, for all that is known.
				r.report(Idle, nil, "e2:1")
				r.report(Ready, nil, "e2:1")
				r.tell(reports)
				time.Sleep(1500 * time.Millisecond)
				shares("after a reconnect", map[string]float64{"e0:1": 1. / (8 + 8./3), "e1:1": 3. / (8 + 8./3), "e2:1": 8. / 3 / (8 + 8./3), "e3:1": 4. / (8 + 8./3)})
			}

			time.Sleep(time.Minute)
			shares("after the expiration", even)
			r.tell(reports)
			time.Sleep(1500 * time.Millisecond)
			shares("in the blackout that follows", even)
			time.Sleep(10 * time.Second)
			shares("after that", map[string]float64{"e1:1": 3 * float64(r.picks(n)["e0:1"]) / n})

			time.Sleep(time.Hour)
			synctest.Wait()
			last := r.view.picker.Load()
			time.Sleep(time.Hour)
			synctest.Wait()
			if r.view.picker.Load() != last {
				t.Error("weights are calculated without reports")
			}
		})
	}
}

// What a policy does not go by is not gathered.
func TestSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := policyRig(t, Policy{}, addresses("e", 2))
		signals := func() [2]bool {
			synctest.Wait()
			l, err := r.view.Pick(PickInfo{})
			if err != nil {
				t.Fatal(err)
			}
			l.Answered(time.Second)
			l.ReportLoad(&Load{CPU: 1, QueriesPerSecond: 1})
			l.Done(Outcome{})
			return [2]bool{l.WantsLatency(), l.WantsLoad()}
		}
		if diff := cmp.Diff([2]bool{}, signals()); diff != "" {
			t.Errorf("round_robin: %s", diff)
		}
		for _, l := range r.view.links {
			if l.endpoint.latency.average() != 0 || l.load.Load() != nil {
				t.Error("round_robin learns")
			}
		}
		r.cluster.Configure(&Config{Policy: Policy{Kind: PeakEWMA}})
		if diff := cmp.Diff([2]bool{true, false}, signals()); diff != "" {
			t.Errorf("peak_ewma: %s", diff)
		}
		r.cluster.Configure(&Config{Policy: Policy{Kind: ClientSideWeightedRoundRobin}})
		if diff := cmp.Diff([2]bool{false, true}, signals()); diff != "" {
			t.Errorf("client_side_weighted_round_robin: %s", diff)
		}
		r.cluster.Configure(&Config{})
		if diff := cmp.Diff([2]bool{}, signals()); diff != "" {
			t.Errorf("round_robin again: %s", diff)
		}
	})
}

// Weights are calculated as often as policy says, and no more than ten times a second.
func TestLoadWeightsUpdate(t *testing.T) {
	for _, c := range []struct{ update, still, then time.Duration }{
		{10 * time.Second, 9 * time.Second, 11 * time.Second},
		{time.Millisecond, 90 * time.Millisecond, 200 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, grpcView, &Config{Policy: Policy{Kind: ClientSideWeightedRoundRobin, Load: LoadWeights{Update: c.update}}}, one(addresses("e", 2)...))
			r.report(Ready, nil, "e0:1", "e1:1")
			share := func() float64 {
				synctest.Wait()
				return float64(r.picks(4000)["e0:1"]) / 4000
			}
			r.tell(map[string]float64{"e0:1": 1, "e1:1": 3})
			if got := share(); math.Abs(got-0.25) > 0.002 {
				t.Fatalf("at first the share is %v", got)
			}
			r.tell(map[string]float64{"e0:1": 3, "e1:1": 1})
			time.Sleep(c.still)
			if got := share(); math.Abs(got-0.25) > 0.002 {
				t.Errorf("every %v: after %v the share is %v already", c.update, c.still, got)
			}
			time.Sleep(c.then - c.still)
			if got := share(); math.Abs(got-0.75) > 0.002 {
				t.Errorf("every %v: after %v the share is %v", c.update, c.then, got)
			}
		})
	}
}

// reportingConn notes how often it is to have its endpoint report.
type reportingConn struct {
	Conn
	period *time.Duration
}

func (c reportingConn) ReportLoad(period time.Duration, _ func(*Load)) bool {
	*c.period = period
	return true
}

type reportingConnector struct {
	fakeConnector
	period time.Duration
}

func (k *reportingConnector) NewConn(e *Endpoint, report func(State, error)) Conn {
	return reportingConn{k.fakeConnector.NewConn(e, report), &k.period}
}

// Endpoints are asked to report as often as policy says, and no more once it says so.
func TestLoadWeightsReportingPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &reportingConnector{}
		cluster := NewCluster("c", ClusterOptions{Logger: quiet})
		t.Cleanup(cluster.Close)
		cluster.Configure(&Config{})
		cluster.Assign(one(addresses("e", 1)...))
		cluster.View(k, grpcView)
		for _, c := range []struct {
			load LoadWeights
			want time.Duration
		}{
			{LoadWeights{OutOfBand: true, ReportingPeriod: time.Minute}, time.Minute},
			{LoadWeights{OutOfBand: true}, DefaultReportingPeriod},
			{LoadWeights{ReportingPeriod: time.Minute}, 0},
		} {
			cluster.Configure(&Config{Policy: Policy{Kind: ClientSideWeightedRoundRobin, Load: c.load}})
			synctest.Wait()
			if k.period != c.want {
				t.Errorf("%+v: asked for a report every %v, want %v", c.load, k.period, c.want)
			}
		}
	})
}
