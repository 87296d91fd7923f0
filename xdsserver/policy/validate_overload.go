package policy

import (
	"math"
	"time"
)

// shortFilter checks the short forms of a filter's configuration, and returns the names
// of those that are given.
func (v *validator) shortFilter(p path, host string, f *Filter) (given []string) {
	if f.AdaptiveConcurrency != nil {
		given = append(given, "adaptiveConcurrency")
		v.adaptiveConcurrency(p.field("adaptiveConcurrency"), f.AdaptiveConcurrency)
	}
	if f.AdmissionControl != nil {
		given = append(given, "admissionControl")
		v.admissionControl(p.field("admissionControl"), f.AdmissionControl)
	}
	if f.LoadShed != nil {
		given = append(given, "loadShed")
		if _, ok := inbound(host); !ok {
			v.nameErrorf(p.field("loadShed"), `"loadShed" is for servers: "limits" of the service bounds what a client has in flight`)
		}
		v.loadShed(p.field("loadShed"), f.LoadShed)
	}
	return given
}

func (v *validator) adaptiveConcurrency(p path, a *AdaptiveConcurrency) {
	v.atLeastShare(p.field("sampleAggregatePercentile"), a.SampleAggregatePercentile, 0)
	v.between(p.field("maxConcurrencyLimit"), a.MaxConcurrencyLimit, 1, math.MaxUint32)
	v.between(p.field("minConcurrencyLimit"), a.MinConcurrencyLimit, 1, math.MaxUint32)
	if a.MaxConcurrencyLimit != nil && a.MinConcurrencyLimit != nil && *a.MaxConcurrencyLimit < *a.MinConcurrencyLimit {
		v.errorf(p.field("minConcurrencyLimit"), "%d: it must not be more than maxConcurrencyLimit, %d", *a.MinConcurrencyLimit, *a.MaxConcurrencyLimit)
	}
	v.atLeast(p.field("concurrencyUpdateInterval"), a.ConcurrencyUpdateInterval, time.Millisecond)
	v.between(p.field("concurrencyLimitExceededStatus"), a.ConcurrencyLimitExceededStatus, 400, 599)
	m := a.MinRTT
	if m == nil {
		return
	}
	p = p.field("minRttCalcParams")
	if m.FixedValue != nil {
		for _, one := range []struct {
			name string
			is   bool
		}{{"interval", m.Interval != nil}, {"requestCount", m.RequestCount != nil}, {"jitter", m.Jitter != nil}} {
			if one.is {
				v.nameErrorf(p.field(one.name), `%q cannot stand beside "fixedValue", with which nothing is measured`, one.name)
			}
		}
	}
	v.atLeast(p.field("interval"), m.Interval, time.Millisecond)
	v.atLeast(p.field("fixedValue"), m.FixedValue, time.Millisecond)
	v.between(p.field("requestCount"), m.RequestCount, 1, math.MaxUint32)
	v.between(p.field("minConcurrency"), m.MinConcurrency, 1, math.MaxUint32)
	v.atLeastShare(p.field("jitter"), m.Jitter, 0)
	v.atLeastShare(p.field("buffer"), m.Buffer, 0)
}

func (v *validator) admissionControl(p path, a *AdmissionControl) {
	v.seconds(p.field("samplingWindow"), a.SamplingWindow)
	v.atLeastShare(p.field("srThreshold"), a.SRThreshold, 10_000)
	v.atLeastShare(p.field("maxRejectionProbability"), a.MaxRejectionProbability, 0)
	if a.Aggression != nil && !(*a.Aggression >= 1 && !math.IsInf(*a.Aggression, 0)) {
		v.errorf(p.field("aggression"), "%v: it must be at least 1", *a.Aggression)
	}
	if a.SuccessCriteria == nil {
		return
	}
	p = p.field("successCriteria")
	for i, r := range a.SuccessCriteria.HTTPSuccessStatus {
		if r.Start < 100 || r.End > 600 || r.Start >= r.End {
			v.errorf(p.field("httpSuccessStatus").index(i), "%d to %d: it must be a range from 100 to 600", r.Start, r.End)
		}
	}
	for i, code := range a.SuccessCriteria.GRPCSuccessStatus {
		v.between(p.field("grpcSuccessStatus").index(i), &code, 0, 16)
	}
}

func (v *validator) loadShed(p path, l *LoadShed) {
	if l.MaxRequests == 0 && !v.incomplete[p] {
		v.errorf(p.field("maxRequests"), "0: it must be at least 1")
	}
	v.atLeastShare(p.field("share"), l.Share, 1)
	switch {
	case l.PriorityHeader == "" && len(l.Shares) > 0:
		v.missingf(p, `"shares" are by the values of a header: give "priorityHeader"`)
	case l.PriorityHeader != "" && !httpToken.MatchString(l.PriorityHeader):
		v.errorf(p.field("priorityHeader"), "%q is not the name of a header", shorten(l.PriorityHeader))
	case l.PriorityHeader != "" && len(l.Shares) == 0:
		v.missingf(p, `"priorityHeader" has no meaning without "shares"`)
	}
	for _, value := range sortedKeys(l.Shares) {
		v.atLeastShare(p.field("shares").field(value), new(l.Shares[value]), 1)
	}
	v.positive(p.field("retryAfter"), l.RetryAfter)
	if q := l.Queue; q != nil {
		at := p.field("queue")
		if q.Size == 0 && !v.incomplete[at] {
			v.errorf(at.field("size"), "0: it must be at least 1")
		}
		v.positive(at.field("interval"), q.Interval)
		v.positive(at.field("target"), q.Target)
	}
}

// atLeastShare checks what a program may have written in place of one, too.
func (v *validator) atLeastShare(p path, f *Fraction, least Fraction) {
	if f != nil && (*f < least || *f > 1_000_000) {
		v.errorf(p, "%s: it must be %s to 100%%", *f, least)
	}
}

// shareOverride checks the share that a route has of a filter.
func (v *validator) shareOverride(p path, host, name string, share *Fraction) {
	v.atLeastShare(p, share, 1)
	for _, f := range v.policy.Filters[host] {
		if f.Name == name && f.LoadShed == nil {
			v.nameErrorf(p, `%q is not a loadShed filter, which alone has a "share"`, name)
		}
	}
}
