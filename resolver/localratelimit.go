package resolver

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	lru "github.com/hashicorp/golang-lru/v2"
	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resilience"
)

// localLimitKind limits calls by buckets of tokens of the process
// (envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit). A configuration's
// buckets are shared by all calls that it applies to, through whatever client, table or
// route, and are full again when the resource that it stands in changes. An override is
// a configuration of its own. As in Envoy, limits are neither counted nor enforced unless
// filter_enabled and filter_enforced say so.
//
// A bucket for each connection (local_rate_limit_per_downstream_connection) is one for
// each address that calls a server: connections of one address, such as those of unix
// sockets, share it. A client's calls have no connection that they come by, and share one.
type localLimitKind struct{}

func (localLimitKind) Types() []string {
	return []string{filterTypes + "local_ratelimit.v3.LocalRateLimit"}
}

// localLimitConfig is a LocalRateLimit that was read, with its buckets.
type localLimitConfig struct {
	enabled, enforced *fraction // nil for none
	forAll            *resilience.BucketConfig
	descriptors       []localDescriptor
	maxDynamic        int
	always            bool // always_consume_default_token_bucket
	stage             uint32
	host              hostLimits
	own               []rateLimit // rate_limits; the route's if there are none

	status            int
	code              codes.Code // of gRPC calls; OK for the one that stands for status
	request, response headerMutation
	xHeaders          bool
	retryAfter        bool

	began   time.Time // from which buckets tell the time
	buckets *localBuckets
	// ofPeer are the buckets of those who call, by address; nil if all share.
	ofPeer *lru.Cache[string, *localBuckets]
}

// maxPeers bounds how many addresses have buckets of their own; those that have not called
// for the longest time make room, and begin with full ones when they come back.
const maxPeers = 16384

func (c *localLimitConfig) now() time.Duration { return time.Since(c.began) }

// bucketsFor returns the buckets that a request takes from.
func (c *localLimitConfig) bucketsFor(r *filter.Request, now time.Duration) *localBuckets {
	if c.ofPeer == nil || !r.Server {
		return c.buckets
	}
	if own, ok := c.ofPeer.Get(r.Peer); ok {
		return own
	}
	own := newLocalBuckets(c, now)
	if other, ok, _ := c.ofPeer.PeekOrAdd(r.Peer, own); ok {
		return other
	}
	return own
}

// New takes the most specific configuration for all.
func (localLimitKind) New(config any, overrides []any) (filter.Filter, error) {
	if n := len(overrides); n > 0 {
		config = overrides[n-1]
	}
	f := &localLimit{localLimitConfig: config.(*localLimitConfig), route: &limitedRoute{}}
	if f.enabled == nil || f.enabled.numerator == 0 {
		return nil, nil
	}
	return f.ofRoute(f.route), nil
}

// localLimit is the filter of a route.
type localLimit struct {
	*localLimitConfig
	route  *limitedRoute
	limits []*rateLimit // that make descriptors of the route's requests
}

func (f *localLimit) ofRoute(r *limitedRoute) filter.Filter {
	own := &localLimit{localLimitConfig: f.localLimitConfig, route: r}
	if len(f.descriptors) == 0 {
		return own // nothing to look up
	}
	if len(f.own) > 0 {
		own.limits = ofStage(f.own, 0)
	} else {
		own.limits = r.limits(f.stage, f.host)
	}
	n := 0
	for _, l := range own.limits {
		if !l.keyed && !l.atEnd {
			own.limits[n] = l
			n++
		}
	}
	own.limits = own.limits[:n]
	return own
}

// errLocalLimit is why a call over a local limit is refused.
var errLocalLimit = fmt.Errorf("%w: local_ratelimit", resilience.ErrLimit)

func (f *localLimit) Request(_ context.Context, r *filter.Request) (filter.Follower, error) {
	if !f.enabled.take() {
		return nil, nil
	}
	now := f.now()
	buckets := f.bucketsFor(r, now)
	var v localVerdict
	if len(f.limits) == 0 {
		v = buckets.takeOne(now)
	} else {
		v = buckets.take(descriptors(f.limits, r, f.route), now)
	}
	if v.allowed {
		return f.told(v), nil
	}
	if f.enforced == nil || !f.enforced.take() {
		if len(f.request) > 0 {
			asked := requestOf(r)
			of := subjectOf(r, &asked)
			f.request.apply(&r.Header, &of)
		}
		return f.told(v), nil
	}
	return &localRefusal{f.localLimitConfig, v}, &filter.Reply{Status: f.status, Code: f.code, Body: "local_rate_limited", Err: errLocalLimit}
}

// told returns what tells the response of the bucket; nil if nobody is to know.
func (f *localLimit) told(v localVerdict) filter.Follower {
	if v.bucket == nil || !f.tells(v) {
		return nil
	}
	return &localTold{f.localLimitConfig, v}
}

func (c *localLimitConfig) tells(v localVerdict) bool {
	if v.headers == routev3.RateLimit_UNSPECIFIED {
		return c.xHeaders
	}
	return v.headers == routev3.RateLimit_DRAFT_VERSION_03
}

// localTold is a call whose response tells of its bucket.
type localTold struct {
	*localLimitConfig
	localVerdict
}

func (c *localTold) Response(_ context.Context, r *filter.Response) error {
	c.tell(&r.Header, c.localVerdict)
	return nil
}

func (*localTold) End(filter.Outcome) {}

// localRefusal is a call over the limit.
type localRefusal struct {
	*localLimitConfig
	localVerdict
}

func (c *localRefusal) Response(_ context.Context, r *filter.Response) error {
	c.response.applyResponse(&r.Header, r)
	if c.retryAfter && c.status == tooManyRequests && len(r.Header.Values(retryAfterHeader)) == 0 {
		wait := 1.0
		if c.bucket != nil {
			wait = max(wait, math.Ceil(c.bucket.Wait(c.now()).Seconds()))
		}
		r.Header.Set(retryAfterHeader, strconv.FormatInt(int64(wait), 10))
	}
	if c.bucket != nil && c.tells(c.localVerdict) {
		c.tell(&r.Header, c.localVerdict)
	}
	return nil
}

func (*localRefusal) End(filter.Outcome) {}

// The headers that tell of a limit (draft-polli-ratelimit-headers-03).
var (
	limitHeaderName     = filter.NewHeaderName("x-ratelimit-limit")
	remainingHeaderName = filter.NewHeaderName("x-ratelimit-remaining")
	resetHeaderName     = filter.NewHeaderName("x-ratelimit-reset")
	retryAfterHeader    = filter.NewHeaderName("retry-after")
)

// tell writes the headers of a bucket. It is reset, in Envoy's words, when the next token
// comes: in whole seconds, rounded down, and from now if there is none.
func (c *localLimitConfig) tell(h *filter.Header, v localVerdict) {
	bucket, reset := v.bucket.Config(), 0.0
	left := v.bucket.Left(c.now())
	if left == 0 {
		reset = 1 / bucket.Rate()
	}
	h.Add(limitHeaderName, strconv.FormatUint(uint64(bucket.Max), 10))
	h.Add(remainingHeaderName, strconv.FormatUint(uint64(left), 10))
	h.Add(resetHeaderName, strconv.FormatInt(int64(reset), 10))
}
