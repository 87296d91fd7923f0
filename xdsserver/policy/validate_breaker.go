package policy

import "time"

func (v *validator) breakers(p path, b *Breakers) {
	if b.Endpoint == nil && b.Cluster == nil && !v.incomplete[p] {
		v.missingf(p, "the breaker says nothing of what it is for: endpoint or cluster")
	}
	for name, one := range map[string]*Breaker{"endpoint": b.Endpoint, "cluster": b.Cluster} {
		if one != nil {
			v.breaker(p.field(name), one)
		}
	}
}

func (v *validator) breaker(p path, b *Breaker) {
	for name, n := range map[string]*uint32{"consecutiveFailures": b.ConsecutiveFailures, "probes": b.Probes} {
		if n != nil && *n == 0 {
			v.errorf(p.field(name), "%s is 0: at least 1", name)
		}
	}
	if f := b.FailurePercent; f != nil && *f == 0 {
		v.errorf(p.field("failurePercent"), "failurePercent is 0%%: every failure would open the breaker; consecutiveFailures: 1 does")
	}
	for name, given := range map[string]bool{"minimumRequests": b.MinimumRequests != nil, "interval": b.Interval != nil} {
		if given && b.FailurePercent == nil && !v.incomplete[p.field("failurePercent")] {
			v.nameErrorf(p.field(name), "%q is for failurePercent only", name)
		}
	}
	v.atLeast(p.field("interval"), b.Interval, 100*time.Millisecond)
	v.atLeast(p.field("openTime"), b.OpenTime, time.Millisecond)
}
