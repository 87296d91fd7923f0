package resilience

import "time"

// Probe is the place of the one call that a half-open breaker lets through.
type Probe struct {
	breaker *Breaker
	done    func(error) // gobreaker's
	began   time.Time
}

// Probe takes the place of the probe, if one is due; Done must follow. Nil means that none
// is, or that another call has it.
func (b *Breaker) Probe() *Probe {
	if b.phase() != phaseDue {
		return nil
	}
	b.mu.Lock()
	defer b.unlock()
	if b.phase() != phaseDue {
		return nil
	}
	done, err := b.two.Allow()
	if err != nil {
		return nil
	}
	b.probe = &Probe{breaker: b, done: done, began: time.Now()}
	b.enter(phaseProbing)
	return b.probe
}

// Done says what came of the probe. One that took longer than OpenTime is not heard any
// more, nor is a second call. A nil probe is none.
func (p *Probe) Done(v Verdict) {
	if p == nil {
		return
	}
	b := p.breaker
	b.mu.Lock()
	defer b.unlock()
	if b.probe == p {
		p.end([...]error{NoVerdict: errNone, Success: nil, Failure: errFailed}[v])
	}
}

// end gives the place back. Unless that has the breaker open or close, another probe is
// due. mu is held.
func (p *Probe) end(err error) {
	p.breaker.probe = nil
	p.done(err)
	if p.breaker.phase() == phaseProbing {
		p.breaker.enter(phaseDue)
	}
}
