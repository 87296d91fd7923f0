package policy

import (
	"math"
	"slices"
	"strings"
	"time"
)

func (v *validator) retry(p path, r *Route) {
	v.enum(p.field("priority"), string(r.Priority), r.Priority)
	v.hedge(p.field("hedge"), r)
	if r.Retry == nil {
		return
	}
	p, m := p.field("retry"), r.Retry
	if m.Attempts != nil && *m.Attempts < 2 {
		v.errorf(p.field("attempts"), "attempts is %d: with one there is no retry, leave out retry", *m.Attempts)
	}
	if m.On != nil && len(m.On) == 0 {
		v.missingf(p.field("on"), "nothing is retried: name what is, or leave out on")
	}
	for i, on := range m.On {
		at := p.field("on").index(i)
		v.enum(at, string(on), on)
		if slices.Index(m.On, on) < i {
			v.errorf(at, "%q is listed twice", on)
		}
	}
	for i, code := range m.StatusCodes {
		if code < 100 || code > 599 {
			v.errorf(p.field("statusCodes").index(i), "%d is not a status of HTTP", code)
		}
	}
	v.headerMatches(p.field("headers"), m.Headers)
	v.headerMatches(p.field("requestHeaders"), m.RequestHeaders)
	for i, method := range m.Methods {
		if !httpToken.MatchString(method) {
			v.errorf(p.field("methods").index(i), "%q is not a method of HTTP", shorten(method))
		}
	}
	if m.Methods != nil && m.RequestHeaders != nil {
		v.nameErrorf(p.field("requestHeaders"), `"requestHeaders" cannot stand beside "methods": either would do`)
	}
	v.positive(p.field("perTryTimeout"), m.PerTryTimeout)
	v.positive(p.field("perTryIdleTimeout"), m.PerTryIdleTimeout)
	if t := m.PerTryTimeout; t != nil && r.Timeout != nil && *r.Timeout > 0 && *t > *r.Timeout {
		v.errorf(p.field("perTryTimeout"), "perTryTimeout is %s, longer than the timeout of the route, %s", *t, *r.Timeout)
	}
	for i, labels := range m.OmitHosts {
		if len(labels) == 0 {
			v.missingf(p.field("omitHosts").index(i), "name a label: without any, no endpoint would be left out")
		}
	}
	if m.PreviousPriorities != nil {
		if n := m.PreviousPriorities.UpdateFrequency; n != nil && (*n < 1 || *n > math.MaxInt32) {
			v.errorf(p.field("previousPriorities").field("updateFrequency"), "updateFrequency is %d: it must be 1 or more", *n)
		}
	}
	v.backOff(p.field("backOff"), m.BackOff)
	if b := m.RateLimitedBackOff; b != nil {
		at := p.field("rateLimitedBackOff")
		if len(b.ResetHeaders) == 0 {
			v.missingf(at.field("resetHeaders"), "say which header tells when to come back")
		}
		for _, name := range sortedKeys(b.ResetHeaders) {
			v.headerName(at.field("resetHeaders").field(name), name)
			v.enum(at.field("resetHeaders").field(name), string(b.ResetHeaders[name]), b.ResetHeaders[name])
		}
		v.positive(at.field("maxInterval"), b.MaxInterval)
	}
}

func (v *validator) headerMatches(p path, matches map[string]*HeaderMatch) {
	for _, name := range sortedKeys(matches) {
		v.header(p.field(name), name, matches[name])
	}
}

func (v *validator) headerName(p path, name string) {
	if !httpToken.MatchString(name) {
		v.nameErrorf(p, "%q is not the name of a header", shorten(name))
	}
}

func (v *validator) backOff(p path, b *BackOff) {
	if b == nil {
		return
	}
	base := defaultBaseInterval
	if b.BaseInterval != nil {
		base = *b.BaseInterval
		if base < time.Millisecond {
			v.errorf(p.field("baseInterval"), "%s: it must be 1ms or more", base)
		}
	}
	if b.MaxInterval != nil && *b.MaxInterval < base {
		v.errorf(p.field("maxInterval"), "maxInterval is %s, less than baseInterval, %s", *b.MaxInterval, base)
	}
}

func (v *validator) hedge(p path, r *Route) {
	h := r.Hedge
	if h == nil {
		return
	}
	if !h.OnPerTryTimeout && h.Delay == nil && h.Quantile == nil {
		v.missingf(p, "say one of onPerTryTimeout, delay and quantile")
	}
	if h.OnPerTryTimeout && (r.Retry == nil || r.Retry.PerTryTimeout == nil) {
		v.errorf(p.field("onPerTryTimeout"), "the route has no retry with a perTryTimeout")
	}
	v.positive(p.field("delay"), h.Delay)
	if q := h.Quantile; q != nil && (*q == 0 || *q >= 1_000_000) {
		v.errorf(p.field("quantile"), "%s: it must be between 0%% and 100%%", *q)
	}
}

func (v *validator) limits(p path, l *Limits) {
	v.retryBudget(p, l.RetryBudget, l.MaxRetries)
	if l.High != nil {
		v.retryBudget(p.field("high"), l.High.RetryBudget, l.High.MaxRetries)
	}
	if t := l.RetryThrottling; t != nil && !v.incomplete[p.field("retryThrottling")] {
		at := p.field("retryThrottling")
		if t.MaxTokens < 1 || t.MaxTokens > 1000 {
			v.errorf(at.field("maxTokens"), "maxTokens is %d: it must be from 1 to 1000", t.MaxTokens)
		}
		if t.TokenRatio < 1000 {
			v.errorf(at.field("tokenRatio"), "%s: it must be 0.1%% or more", t.TokenRatio)
		}
	}
}

func (v *validator) retryBudget(p path, b *RetryBudget, maxRetries *uint32) {
	if b != nil && maxRetries != nil {
		v.nameErrorf(p.field("retryBudget"), `"retryBudget" cannot stand beside "maxRetries", in whose place it is`)
	}
}

// retryOn is the conditions as xDS has them.
func (r *Retry) retryOn() string {
	var tokens []string
	for _, on := range r.On {
		tokens = append(tokens, string(on))
	}
	if r.On == nil && r.StatusCodes == nil && r.Headers == nil {
		tokens = []string{string(OnConnectFailure), string(OnRefusedStream), string(OnUnavailable)}
	}
	if len(r.StatusCodes) > 0 {
		tokens = append(tokens, "retriable-status-codes")
	}
	if len(r.Headers) > 0 {
		tokens = append(tokens, "retriable-headers")
	}
	return strings.Join(tokens, ",")
}
