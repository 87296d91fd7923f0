package balancer

import (
	"math"
	"testing"
	"testing/synctest"
)

// The first of a shuffled list is each endpoint with the chance that its weight has,
// times that of its locality (gRFC A113): to within six standard deviations.
func TestPickFirstShufflesByWeight(t *testing.T) {
	const n = 4000
	for _, test := range []struct {
		name    string
		weights [2]uint32 // of the localities
		want    map[string]float64
	}{
		// Of a locality's endpoints a0 has 1, a1 3; b0 has 1, b1 1.
		{"localities", [2]uint32{1, 3}, map[string]float64{"a0:1": 1. / 16, "a1:1": 3. / 16, "b0:1": 6. / 16, "b1:1": 6. / 16}},
		{"endpoints alone", [2]uint32{}, map[string]float64{"a0:1": 1. / 6, "a1:1": 3. / 6, "b0:1": 1. / 6, "b1:1": 1. / 6}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := NewCluster("c", ClusterOptions{Logger: quiet})
				defer c.Close()
				c.Configure(&Config{Policy: Policy{Kind: PickFirst, Shuffle: true}})
				a := addresses("a", 2)
				a[1].Weight = 3
				c.Assign(&Assignment{Localities: []LocalityEndpoints{
					{Locality: Locality{Zone: "a"}, Weight: test.weights[0], Endpoints: a},
					{Locality: Locality{Zone: "b"}, Weight: test.weights[1], Endpoints: addresses("b", 2)},
				}})
				first := map[string]int{}
				for range n {
					v := c.View(&fakeConnector{}, httpView)
					l, err := v.Pick(PickInfo{})
					if err != nil {
						t.Fatal(err)
					}
					l.Done(Outcome{})
					first[l.Endpoint().Address()]++
					v.Close()
				}
				for address, share := range test.want {
					if off := math.Abs(float64(first[address]) - n*share); off > 6*math.Sqrt(n*share*(1-share)) {
						t.Errorf("%s is the first of %d in %d, want about %.0f", address, first[address], n, n*share)
					}
				}
			})
		})
	}
}
