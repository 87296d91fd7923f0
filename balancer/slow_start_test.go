package balancer

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSlowStartFactor(t *testing.T) {
	for _, test := range []struct {
		slow       SlowStart
		age, floor time.Duration
		want       float64
	}{
		{SlowStart{Window: time.Minute, MinWeightPercent: 10}, 0, time.Millisecond, 0.1},
		{SlowStart{Window: time.Minute, MinWeightPercent: 10}, 15 * time.Second, time.Millisecond, 0.25},
		{SlowStart{Window: time.Minute, MinWeightPercent: 10}, time.Minute, time.Millisecond, 1},
		{SlowStart{Window: time.Minute, MinWeightPercent: 10, Aggression: 2}, 15 * time.Second, time.Millisecond, 0.5},
		{SlowStart{Window: time.Minute, MinWeightPercent: 1, Aggression: 0.5}, 15 * time.Second, time.Millisecond, 0.0625},
		{SlowStart{Window: 10 * time.Second}, -time.Hour, time.Second, 0.1}, // a clock that was set back
		{SlowStart{Window: 10 * time.Second}, 0, time.Millisecond, 0.0001},
		{SlowStart{Window: 100 * time.Millisecond}, 0, time.Second, 1},
	} {
		got, next := test.slow.factor(test.age, test.floor)
		if math.Abs(got-test.want) > 1e-9 {
			t.Errorf("%+v at %v: %v, want %v", test.slow, test.age, got, test.want)
		}
		if (next > 0) != (test.age < test.slow.Window) || next > test.slow.Window {
			t.Errorf("%+v at %v: again in %v", test.slow, test.age, next)
		}
	}
}

// An endpoint that joins four others gets a part of its weight that grows with its age,
// in each policy that has slow start. Shares are looked at a step, a hundredth of the
// window, after the age that they are to be of at the latest.
func TestSlowStartRamp(t *testing.T) {
	const n = 40_000
	for _, policy := range []Policy{
		{Kind: RoundRobin},
		{Kind: LeastRequest, ActiveRequestBias: 1},
		{Kind: ClientSideWeightedRoundRobin},
	} {
		for _, options := range []ViewOptions{httpView, grpcView} {
			t.Run(fmt.Sprintf("%d %v", policy.Kind, options.GRPC), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					policy.SlowStart = SlowStart{Window: time.Minute, MinWeightPercent: 10}
					r := newRig(t, options, &Config{Policy: policy}, one(addresses("e", 4)...))
					ready := func(list ...string) {
						if options.GRPC {
							r.report(Ready, nil, list...)
						}
					}
					ready("e0:1", "e1:1", "e2:1", "e3:1")
					time.Sleep(time.Minute)
					r.assign(one(addresses("e", 5)...))
					ready("e4:1")
					joined := time.Now()
					for _, age := range []time.Duration{0, 5 * time.Second, 15 * time.Second, 30 * time.Second, 55 * time.Second, 2 * time.Minute} {
						time.Sleep(age - time.Since(joined))
						synctest.Wait()
						part := func(age time.Duration) float64 { return min(1, max(0.1, age.Seconds()/60)) }
						low, high := part(age-time.Minute/slowStartSteps), part(age)
						slack := 0.002 // of a schedule over 40,000 calls
						if policy.Kind == LeastRequest {
							slack = 6 * math.Sqrt(0.2*0.8/n) // random: six standard deviations
						}
						got := float64(r.picks(n)["e4:1"]) / n
						if got < low/(4+low)-slack || got > high/(4+high)+slack {
							t.Errorf("after %v the share is %.4f, want %.4f to %.4f", age, got, low/(4+low), high/(4+high))
						}
					}
				})
			})
		}
	}
}

// Which endpoints are new is Envoy's to say: one that its source calls unhealthy for a
// while is not when it is back, one that was never healthy is, and so is one that passed
// a health check after it had failed.
func TestSlowStartBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := Policy{SlowStart: SlowStart{Window: time.Minute, MinWeightPercent: 10}}
		endpoints := addresses("e", 3)
		endpoints[2].Health = Unhealthy
		r := newRig(t, httpView, &Config{Policy: policy}, one(endpoints...))
		time.Sleep(time.Hour)
		even := map[string]int{"e0:1": 1000, "e1:1": 1000}
		if diff := cmp.Diff(even, r.picks(2000)); diff != "" {
			t.Fatalf("after the window (-want +got):\n%s", diff)
		}
		down := addresses("e", 3)
		down[0].Health, down[2].Health = Unhealthy, Unhealthy
		r.assign(one(down...))
		r.assign(one(endpoints...))
		if diff := cmp.Diff(even, r.picks(2000)); diff != "" {
			t.Errorf("an endpoint whose source changed its mind starts anew (-want +got):\n%s", diff)
		}
		r.assign(one(addresses("e", 3)...))
		within(t, r.picks(21000), 21000, map[string]float64{"e0:1": 10. / 21, "e1:1": 10. / 21, "e2:1": 1. / 21})

		time.Sleep(time.Hour)
		recovered := r.cluster.Endpoints()[1]
		recovered.mark(failsChecks, true)
		r.cluster.healthChanged()
		synctest.Wait()
		recovered.mark(failsChecks, false)
		r.cluster.healthChanged()
		synctest.Wait()
		within(t, r.picks(21000), 21000, map[string]float64{"e0:1": 10. / 21, "e1:1": 1. / 21, "e2:1": 10. / 21})
	})
}

// While nothing ramps, nothing is rebuilt.
func TestSlowStartEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := policyRig(t, Policy{SlowStart: SlowStart{Window: time.Minute}}, addresses("e", 3))
		first := r.view.picker.Load()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		during := r.view.picker.Load()
		if during == first {
			t.Error("no other picker in the window")
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		after := r.view.picker.Load()
		time.Sleep(time.Hour)
		synctest.Wait()
		if r.view.picker.Load() != after {
			t.Error("pickers are made after the window")
		}
	})
}

// Under client_side_weighted_round_robin over gRPC another connection is another server
// that starts slowly (gRFC A100); elsewhere the endpoint's own age counts.
func TestSlowStartByConnection(t *testing.T) {
	const n = 21_000
	for _, c := range []struct {
		kind    PolicyKind
		options ViewOptions
		want    float64
	}{
		{ClientSideWeightedRoundRobin, grpcView, 1. / 21},
		{RoundRobin, grpcView, 1. / 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, c.options, &Config{Policy: Policy{Kind: c.kind, SlowStart: SlowStart{Window: time.Minute, MinWeightPercent: 10}}}, one(addresses("e", 3)...))
			r.report(Ready, nil, "e0:1", "e1:1", "e2:1")
			time.Sleep(time.Hour)
			r.report(Idle, nil, "e2:1")
			r.report(Ready, nil, "e2:1")
			if got := float64(r.picks(n)["e2:1"]) / n; math.Abs(got-c.want) > 0.002 {
				t.Errorf("policy %d: the share of a connection that is new is %.4f, want %.4f", c.kind, got, c.want)
			}
		})
	}
}
