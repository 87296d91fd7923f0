package mesh_test

import (
	"context"
	"math/rand/v2"
	"time"
)

// chaosWeather is how much trouble the backends of a run are in.
type chaosWeather struct {
	name string
	seed uint64
	well float64       // how long a backend is well, of how long it is in trouble
	out  time.Duration // how long no backend is available, of every chaosOutages

	// At least so many times fewer calls fail with all of policy than of stock clients: in a
	// run of a minute, and in a shorter one, which may have chance.
	better, soon float64
}

// chaosOutages is from one time that all backends are unavailable to the next.
const chaosOutages = 1500 * time.Millisecond

var chaosWeathers = []chaosWeather{
	{name: "fair", seed: 11, well: 4, better: 20, soon: 5},
	{name: "harsh", seed: 17, well: 1, better: 7, soon: 5},
	// Breakers, which open meanwhile, have some calls fail that come just after: more than a
	// third as many as of stock clients, and in a run of seconds now and then as many.
	{name: "outages", seed: 11, well: 4, out: 400 * time.Millisecond, better: 2, soon: 0.4},
}

// plague has a backend fall into one trouble after another, and recover, for d. It is in
// each once before it is in one again.
func (w *chaosWeather) plague(b *troubled, n uint64, d time.Duration) {
	random := rand.New(rand.NewPCG(w.seed, n))
	for ends := time.Now().Add(d); time.Now().Before(ends); {
		for _, i := range random.Perm(int(troubles) - 1) {
			for _, t := range []trouble{well, trouble(1 + i)} {
				lasts := 200*time.Millisecond + time.Duration(random.ExpFloat64()*float64(300*time.Millisecond))
				if t == well {
					lasts = time.Duration(w.well * float64(lasts))
				}
				if left := time.Until(ends); left > 0 {
					b.set(t)
					pause(context.Background(), nil, min(lasts, left))
				}
			}
		}
	}
	b.set(well)
}

// blackOut has all backends unavailable at once now and then, for d.
func (r *chaosRun) blackOut(d time.Duration) {
	for ends := time.Now().Add(d); r.weather.out > 0 && time.Until(ends) > chaosOutages; {
		pause(context.Background(), nil, chaosOutages-r.weather.out)
		r.out.Store(true)
		pause(context.Background(), nil, r.weather.out)
		r.out.Store(false)
	}
}
