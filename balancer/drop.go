package balancer

import "math/rand/v2"

// dropper refuses shares of the calls (EDS drop_overloads). Nil refuses none.
type dropper struct {
	perMillion []uint32
	errs       []error // made once: refusing a call must be cheap
}

func newDropper(cluster string, drops []Drop) *dropper {
	d := new(dropper)
	for _, drop := range drops {
		if drop.PerMillion > 0 {
			d.perMillion = append(d.perMillion, drop.PerMillion)
			d.errs = append(d.errs, &DropError{cluster, drop.Category})
		}
	}
	if len(d.errs) == 0 {
		return nil
	}
	return d
}

// drop returns the error to refuse a call with, or nil. Each category takes its
// share of what the ones before it let through, as in Envoy and gRPC.
func (d *dropper) drop() error {
	for i, share := range d.perMillion {
		if rand.Uint32N(1_000_000) < share {
			return d.errs[i]
		}
	}
	return nil
}
