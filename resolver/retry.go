package resolver

import (
	"math"
	"strconv"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weft-mesh/weft/resilience"
)

// attempts is what policy says of the attempts of a route's calls. A route's own
// retry_policy and hedge_policy stand in place of its virtual host's.
type attempts struct {
	policy *resilience.Policy // nil for one attempt
	// requests are the headers of which a request must have one to be retried; none
	// means any request.
	requests []headerMatcher
	omitted  omitted
	priority resilience.Priority

	// countInRequest and countInResponse have attempts say their number.
	countInRequest, countInResponse bool
}

// attempts reads what a route, or else its virtual host, says of attempts.
func (p *path) attempts(host *path, vh *routev3.VirtualHost, r *routev3.Route) (attempts, error) {
	a := r.GetRoute()
	to := attempts{countInRequest: vh.GetIncludeRequestAttemptCount(), countInResponse: vh.GetIncludeAttemptCountInResponse()}
	if a == nil {
		return to, nil
	}
	var err error
	if to.priority, err = p.to("route").to("priority").priority(a.GetPriority()); err != nil {
		return to, err
	}
	retry, at := a.GetRetryPolicy(), p.to("route")
	if retry == nil {
		retry, at = vh.GetRetryPolicy(), host
	}
	if err := at.to("retry_policy").retries(retry, &to); err != nil {
		return to, err
	}
	hedge, at := a.GetHedgePolicy(), p.to("route")
	if hedge == nil {
		hedge, at = vh.GetHedgePolicy(), host
	}
	if hedge != nil {
		at.to("hedge_policy").warnUnread(hedge, hedgePolicyFields)
	}
	if err := p.to("metadata").to(HedgeMetadata).hedge(hedge, r.GetMetadata().GetFilterMetadata()[HedgeMetadata], &to); err != nil {
		return to, err
	}
	if to.policy != nil {
		to.policy.Retry.BufferLimit = bufferLimit(vh, r)
	}
	return to, nil
}

// bufferLimit is how much of a request is kept to be sent again; the newer field and the
// route count more than the older and the virtual host. Zero is the default.
func bufferLimit(vh *routev3.VirtualHost, r *routev3.Route) int64 {
	for _, v := range []uint64{
		r.GetRequestBodyBufferLimit().GetValue(), uint64(r.GetPerRequestBufferLimitBytes().GetValue()),
		vh.GetRequestBodyBufferLimit().GetValue(), uint64(vh.GetPerRequestBufferLimitBytes().GetValue()),
	} {
		if v > 0 {
			return int64(min(v, math.MaxInt64))
		}
	}
	return 0
}

var retryPolicyFields = fieldNames("retry_on", "num_retries", "per_try_timeout", "per_try_idle_timeout",
	"retry_host_predicate", "retry_priority", "host_selection_retry_max_attempts", "retriable_status_codes", "retry_back_off",
	"rate_limited_retry_back_off", "retriable_headers", "retriable_request_headers")

// retries reads a retry_policy into what is to be said of the calls. One that never
// retries but limits attempts is a policy still.
func (p *path) retries(m *routev3.RetryPolicy, to *attempts) error {
	if m == nil {
		return nil
	}
	p.warnUnread(m, retryPolicyFields)
	r := resilience.Retry{Retries: 1}
	if m.GetNumRetries() != nil {
		r.Retries = int(m.GetNumRetries().GetValue())
	}
	p.retryOn(m, &r.On)
	var err error
	if r.PerTryTimeout, err = p.bound("per_try_timeout", m.GetPerTryTimeout()); err != nil {
		return err
	}
	if r.PerTryIdleTimeout, err = p.bound("per_try_idle_timeout", m.GetPerTryIdleTimeout()); err != nil {
		return err
	}
	if b := m.GetRetryBackOff(); b != nil {
		if r.Backoff, err = p.to("retry_back_off").backoff(b); err != nil {
			return err
		}
	}
	if b := m.GetRateLimitedRetryBackOff(); b != nil {
		if r.RateLimited, err = p.to("rate_limited_retry_back_off").rateLimited(b); err != nil {
			return err
		}
	}
	if err := p.hostPredicates(m, &r, to); err != nil {
		return err
	}
	if err := p.retryPriority(m.GetRetryPriority(), &r); err != nil {
		return err
	}
	if err := p.retriableHeaders(m, &r.On); err != nil {
		return err
	}
	for i, h := range m.GetRetriableRequestHeaders() {
		matcher, err := p.at("retriable_request_headers", i).headerMatcher(h)
		if err != nil {
			return err
		}
		to.requests = append(to.requests, matcher)
	}
	to.policy = &resilience.Policy{Retry: r, Latency: new(resilience.Latency)}
	return nil
}

// typeName is the name of the message that a type URL is for.
func typeName(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// retryOn reads the tokens, of which Envoy ignores those that it does not know.
func (p *path) retryOn(m *routev3.RetryPolicy, c *resilience.Conditions) {
	for token := range strings.SplitSeq(m.GetRetryOn(), ",") {
		token = strings.TrimSpace(token)
		condition, ok := resilience.Tokens[token]
		c.On |= condition
		if !ok && token != "" && token != "http3-post-connect-failure" {
			p.to("retry_on").to("(a token unknown to this version)").warn()
		}
	}
	c.StatusCodes = m.GetRetriableStatusCodes()
}

// retriableHeaders reads the headers of answers that are retried.
func (p *path) retriableHeaders(m *routev3.RetryPolicy, c *resilience.Conditions) error {
	var matchers []headerMatcher
	for i, h := range m.GetRetriableHeaders() {
		matcher, err := p.at("retriable_headers", i).headerMatcher(h)
		if err != nil {
			return err
		}
		matchers = append(matchers, matcher)
	}
	if len(matchers) == 0 {
		return nil
	}
	c.Response = func(status int, h resilience.Headers) bool {
		answer := Request{Headers: answerHeaders{status, h}}
		for i := range matchers {
			if matchers[i].match(&answer) {
				return true
			}
		}
		return false
	}
	return nil
}

// bound reads a limit of time, of which zero is none.
func (p *path) bound(field string, d *durationpb.Duration) (time.Duration, error) {
	v, err := p.duration(field, d)
	return v.d, err
}

// backoff reads a RetryBackOff, as Envoy and gRPC check it.
func (p *path) backoff(m *routev3.RetryPolicy_RetryBackOff) (resilience.Backoff, error) {
	base, err := p.duration("base_interval", m.GetBaseInterval())
	if err != nil {
		return resilience.Backoff{}, err
	}
	if base.d <= 0 {
		return resilience.Backoff{}, p.to("base_interval").errorf("must be greater than zero")
	}
	most, err := p.duration("max_interval", m.GetMaxInterval())
	if err != nil {
		return resilience.Backoff{}, err
	}
	if most.set && most.d < base.d {
		return resilience.Backoff{}, p.to("max_interval").errorf("%s is less than base_interval, %s", most.d, base.d)
	}
	return resilience.Backoff{Base: base.d, Max: most.d}, nil
}

func (p *path) rateLimited(m *routev3.RetryPolicy_RateLimitedRetryBackOff) (*resilience.RateLimitedBackoff, error) {
	if len(m.GetResetHeaders()) == 0 {
		return nil, p.to("reset_headers").errorf("must not be empty")
	}
	b := &resilience.RateLimitedBackoff{}
	for i, h := range m.GetResetHeaders() {
		q := p.at("reset_headers", i)
		if h.GetName() == "" {
			return nil, q.to("name").errorf("must not be empty")
		}
		header := resilience.ResetHeader{Name: strings.ToLower(h.GetName())}
		switch h.GetFormat() {
		case routev3.RetryPolicy_SECONDS:
		case routev3.RetryPolicy_UNIX_TIMESTAMP:
			header.UnixTime = true
		default:
			return nil, q.to("format").errorf("unknown value %d", h.GetFormat())
		}
		b.Headers = append(b.Headers, header)
	}
	most, err := p.duration("max_interval", m.GetMaxInterval())
	if err != nil {
		return nil, err
	}
	if most.set && most.d <= 0 {
		return nil, p.to("max_interval").errorf("must be greater than zero")
	}
	b.Max = most.d
	return b, nil
}

var hedgePolicyFields = fieldNames("hedge_on_per_try_timeout")

// HedgeMetadata is the name under which a route's metadata say of hedges what
// HedgePolicy has no field for, as gRFC A6 has it. Who does not know it ignores it.
//
//	max_attempts: 3     attempts in all, 2 or more; not given, those of the retry policy, else 2
//	delay: 50ms         from one to the next
//	quantile: 0.95      of what attempts take lately, in place of delay once that is known
const HedgeMetadata = "weft.hedge"

// hedge reads a hedge_policy and what the route's metadata add to it, which are at p.
func (p *path) hedge(m *routev3.HedgePolicy, metadata *structpb.Struct, to *attempts) error {
	var h resilience.Hedge
	if m.GetHedgeOnPerTryTimeout() && to.policy != nil && to.policy.Retry.PerTryTimeout > 0 {
		h.OnPerTryTimeout = true
	}
	if metadata != nil {
		if err := p.hedgeMetadata(metadata, &h, to); err != nil {
			return err
		}
	}
	if h != (resilience.Hedge{}) {
		to.policy.Hedge = &h
	}
	return nil
}

func (p *path) hedgeMetadata(s *structpb.Struct, h *resilience.Hedge, to *attempts) error {
	fields := s.GetFields()
	if v, ok := fields["delay"]; ok {
		d, err := time.ParseDuration(v.GetStringValue())
		if err != nil || d <= 0 {
			return p.to("delay").errorf("%q is not a time above zero, such as 50ms", v.GetStringValue())
		}
		h.Delay = d
	}
	if v, ok := fields["quantile"]; ok {
		if h.Quantile = v.GetNumberValue(); !(h.Quantile > 0 && h.Quantile < 1) {
			return p.to("quantile").errorf("%v is not between 0 and 1", h.Quantile)
		}
	}
	if to.policy == nil {
		to.policy = &resilience.Policy{Retry: resilience.Retry{Retries: 1}, Latency: new(resilience.Latency)}
	}
	if v, ok := fields["max_attempts"]; ok {
		n := v.GetNumberValue()
		if !(n >= 2 && n <= 1000) || n != float64(int(n)) {
			return p.to("max_attempts").errorf("%v is not a whole number from 2 to 1000", n)
		}
		to.policy.Retry.Retries = int(n) - 1
	}
	return nil
}

// answerHeaders shows header matchers an answer.
type answerHeaders struct {
	status  int
	headers resilience.Headers
}

func (h answerHeaders) Values(n *HeaderName) []string {
	if n.Lower == ":status" {
		return []string{strconv.Itoa(h.status)}
	}
	return h.headers.Values(n.Lower)
}

// Retriable reports whether a request may be tried again: whether it has one of the
// headers that policy asks for, if it asks (retriable_request_headers).
func (r *Route) Retriable(req *Request) bool {
	for i := range r.attempts.requests {
		if r.attempts.requests[i].match(req) {
			return true
		}
	}
	return len(r.attempts.requests) == 0
}

// Attempts is what policy says of the attempts of the route's calls; nil for that there
// is one.
func (r *Route) Attempts() *resilience.Policy { return r.policy }

// Priority is the priority by which the limits of the route's cluster are chosen.
func (r *Route) Priority() resilience.Priority { return r.priority }

// CountsAttempts reports whether requests, and responses, say how many attempts there
// were (include_request_attempt_count, include_attempt_count_in_response).
func (r *Route) CountsAttempts() (request, response bool) {
	return r.attempts.countInRequest, r.attempts.countInResponse
}
