package balancer

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
)

// With different weights, each of many endpoints is picked at Envoy's rate of weight /
// (active+1)^bias, to within seven standard deviations: exactly so while there are
// some that are idle, and within a tenth where all are busy.
func TestWeightedLeastRequestOfMany(t *testing.T) {
	const n = 200_000
	for _, test := range []struct {
		name   string
		bias   float64
		active func(i int) int64
		slack  float64 // a share of the rate
	}{
		{"idle", 1, func(int) int64 { return 0 }, 0},
		{"some busy", 1, func(i int) int64 { return int64(i % 5) }, 0},
		{"a strong bias", 2, func(i int) int64 { return int64(i % 3) }, 0.01},
		{"all busy", 1, func(i int) int64 { return int64(20 + i%20) }, 0.1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				weights := make([]uint32, 30)
				for i := range weights {
					weights[i] = uint32(1 + i%4)
				}
				r := policyRig(t, Policy{Kind: LeastRequest, ActiveRequestBias: test.bias}, weigh(weights...))
				rates, sum := map[string]float64{}, 0.0
				for i, e := range r.cluster.Endpoints() {
					e.active.Store(test.active(i))
					rates[e.Address()] = float64(weights[i]) / math.Pow(float64(test.active(i)+1), test.bias)
					sum += rates[e.Address()]
				}
				got := r.picks(n)
				for address, rate := range rates {
					share := rate / sum
					bound := 7*math.Sqrt(n*share*(1-share)) + test.slack*n*share
					if off := math.Abs(float64(got[address]) - n*share); off > bound {
						t.Errorf("%s was picked %d times in %d, want %.0f ± %.0f", address, got[address], n, n*share, bound)
					}
				}
			})
		})
	}
}

// FULL_SCAN never takes one that has more calls than another, and those that have the
// fewest equally often.
func TestLeastRequestFullScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 30_000
		r := policyRig(t, Policy{Kind: LeastRequest, FullScan: true}, addresses("e", 50))
		for i, e := range r.cluster.Endpoints() {
			e.active.Store(int64(3 + i%5))
		}
		want := map[string]float64{}
		for i := range 50 {
			if want[fmt.Sprintf("e%d:1", i)] = 0; i%5 == 0 {
				want[fmt.Sprintf("e%d:1", i)] = 0.1
			}
		}
		within(t, r.picks(n), n, want)
	})
}
