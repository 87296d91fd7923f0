package resolver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resilience"
)

// serviceLimitKind asks a service whether calls are over a limit, by the descriptors
// that the rate limits of policy make of them
// (envoy.extensions.filters.http.ratelimit.v3.RateLimit,
// envoy.service.ratelimit.v3.RateLimitService). A call without descriptors is not asked
// about. As in Envoy, a service that fails, or does not answer within timeout (20 ms by
// default), lets calls through, unless failure_mode_deny or failure_mode_deny_percent
// say otherwise. One that cannot be had, by envoy_grpc, fails all calls; a server then
// serves none, as it does not without other filters that limit what it does.
//
// Limits with apply_on_stream_done are told of a call when it has ended, and nothing waits
// for what the service says of them.
type serviceLimitKind struct{ ends *endReports }

func (serviceLimitKind) Types() []string {
	return []string{filterTypes + "ratelimit.v3.RateLimit", filterTypes + "ratelimit.v3.RateLimitPerRoute"}
}

// Close waits until the service was told of the calls that have ended.
func (k serviceLimitKind) Close() error {
	k.ends.mu.Lock()
	k.ends.closed = true
	k.ends.mu.Unlock()
	k.ends.all.Wait()
	return nil
}

// endReports are what services are told of calls that have ended.
type endReports struct {
	all sync.WaitGroup

	mu     sync.Mutex
	under  int
	closed bool
}

// maxEndReports bounds how many are under way; a service that is slower than the calls is
// not told of all.
const maxEndReports = 256

// begin runs a report, if there is room for it.
func (e *endReports) begin(report func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.under == maxEndReports {
		return
	}
	e.under++
	e.all.Go(func() {
		report()
		e.mu.Lock()
		e.under--
		e.mu.Unlock()
	})
}

// serviceLimitConfig is a RateLimit that was read. It is immutable.
type serviceLimitConfig struct {
	service filter.Service // nil for one that cannot be had, which fails
	domain  string
	stage   uint32
	own     []rateLimit // rate_limits

	internal, external bool          // which requests it is for
	timeout            time.Duration // 0 for none

	enabled, enforced *fraction // nil for all
	denies            *fraction // failure_mode_deny_percent; nil for deny
	deny              bool

	status, statusOnError int
	code                  codes.Code // of gRPC calls; OK for the one that stands for status
	response              headerMutation
	xHeaders              bool
	noMark                bool // disable_x_envoy_ratelimited_header
	retryAfter            bool

	metadata func() // warns of the service's dynamic metadata
}

// serviceLimitOverride is a RateLimitPerRoute that was read.
type serviceLimitOverride struct {
	host   hostLimits
	own    []rateLimit
	domain string
}

// New takes the most specific override.
func (k serviceLimitKind) New(config any, overrides []any) (filter.Filter, error) {
	f := &serviceLimit{serviceLimitConfig: config.(*serviceLimitConfig), ends: k.ends, override: &serviceLimitOverride{}, route: &limitedRoute{}}
	if n := len(overrides); n > 0 {
		f.override = overrides[n-1].(*serviceLimitOverride)
	}
	if own := f.ofRoute(&limitedRoute{forwards: true}); own != nil {
		return own, nil
	}
	return f, nil // a route may have limits
}

// serviceLimit is the filter of a route.
type serviceLimit struct {
	*serviceLimitConfig
	ends     *endReports
	override *serviceLimitOverride
	route    *limitedRoute
	limits   []*rateLimit // that make descriptors of the route's requests
	late     []*rateLimit // the same when a call has ended
}

func (f *serviceLimit) ofRoute(r *limitedRoute) filter.Filter {
	own := &serviceLimit{serviceLimitConfig: f.serviceLimitConfig, ends: f.ends, override: f.override, route: r}
	all := r.limits(f.stage, f.override.host)
	switch {
	case !r.forwards:
		return nil
	case len(f.override.own) > 0:
		all = ofStage(f.override.own, 0)
	case len(f.own) > 0:
		all = ofStage(f.own, 0)
	}
	for _, l := range all {
		if l.atEnd {
			own.late = append(own.late, l)
		} else {
			own.limits = append(own.limits, l)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return own
}

var envoyInternal = filter.NewHeaderName("x-envoy-internal")

// counts reports whether a request is one that the filter is for.
func (f *serviceLimit) counts(r *filter.Request) bool {
	if f.enabled != nil && !f.enabled.take() {
		return false
	}
	if r.Header.Get(envoyInternal) == "true" {
		return f.internal
	}
	return f.external
}

func (f *serviceLimit) Request(ctx context.Context, r *filter.Request) (filter.Follower, error) {
	if !f.counts(r) {
		return nil, nil
	}
	var answer *limitAnswer
	var err error
	if list := descriptors(f.limits, r, f.route); len(list) > 0 {
		answer, err = f.ask(ctx, r, list)
	}
	var end *limitEnd
	if len(f.late) > 0 {
		end = &limitEnd{f, r}
	}
	switch {
	case answer == nil && end == nil:
		return nil, err
	case answer == nil:
		return end, err
	default:
		answer.end = end
		return answer, err
	}
}

// errServiceLimit is why a call over a service's limit is refused.
var errServiceLimit = fmt.Errorf("%w: ratelimit", resilience.ErrLimit)

// errNoLimitService is why a service that cannot be had fails.
var errNoLimitService = errors.New("envoy_grpc is not supported (gRFC A102)")

// ask asks the service about a request. The error ends the call. The answer, which may be
// nil, is for the response.
func (f *serviceLimit) ask(ctx context.Context, r *filter.Request, list []limitDescriptor) (*limitAnswer, error) {
	out, err := f.call(ctx, list)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && (f.refuses() || f.service == nil && r.Server):
		return nil, &filter.Reply{Status: f.statusOnError, Err: fmt.Errorf("the rate limit service failed: %w", err)}
	case err != nil:
		return nil, nil //nolint:nilerr // policy lets calls through that the service fails
	}
	if out.GetDynamicMetadata() != nil {
		f.metadata()
	}
	over := out.GetOverallCode() == servicev3.RateLimitResponse_OVER_LIMIT
	answer := f.answer(list, out, over)
	if over && (f.enforced == nil || f.enforced.take()) {
		if answer == nil {
			answer = &limitAnswer{}
		}
		answer.refusal = f.serviceLimitConfig
		return answer, &filter.Reply{Status: f.status, Code: f.code, Body: string(out.GetRawBody()), Err: errServiceLimit}
	}
	for _, h := range out.GetRequestHeadersToAdd() {
		if name, ok := addedName(h); ok {
			r.Header.Add(name, h.GetValue())
		}
	}
	return answer, nil
}

// refuses says whether a call that the service failed is refused.
func (f *serviceLimit) refuses() bool {
	if f.denies != nil {
		return f.denies.take()
	}
	return f.deny
}

const shouldRateLimit = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

// call asks the service.
func (f *serviceLimit) call(ctx context.Context, list []limitDescriptor) (*servicev3.RateLimitResponse, error) {
	if f.service == nil {
		return nil, errNoLimitService
	}
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.timeout)
		defer cancel()
	}
	domain := f.override.domain
	if domain == "" {
		domain = f.domain
	}
	out := &servicev3.RateLimitResponse{}
	err := f.service.Call(ctx, shouldRateLimit, limitRequest(domain, list), out)
	if err == nil && out.GetOverallCode() == servicev3.RateLimitResponse_UNKNOWN {
		err = errors.New("the answer has no code")
	}
	return out, err
}

// limitEnd follows a call of which the service is told when it has ended.
type limitEnd struct {
	*serviceLimit
	request *filter.Request
}

func (e *limitEnd) End(filter.Outcome) {
	if e == nil {
		return
	}
	list := descriptors(e.late, e.request, e.route)
	if len(list) == 0 {
		return
	}
	e.ends.begin(func() { _, _ = e.call(context.Background(), list) })
}
