package resolver

import (
	"context"
	"math"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"golang.org/x/net/http/httpguts"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/filter"
)

// limitRequest is what a service is asked.
func limitRequest(domain string, list []limitDescriptor) *servicev3.RateLimitRequest {
	m := &servicev3.RateLimitRequest{Domain: domain, Descriptors: make([]*limitv3.RateLimitDescriptor, len(list))}
	for i, d := range list {
		one := &limitv3.RateLimitDescriptor{Entries: make([]*limitv3.RateLimitDescriptor_Entry, len(d.entries)), IsNegativeHits: d.refunds}
		for j, e := range d.entries {
			one.Entries[j] = &limitv3.RateLimitDescriptor_Entry{Key: e.key, Value: strings.ToValidUTF8(e.value, "\uFFFD")}
		}
		if d.override != nil {
			one.Limit = &limitv3.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: d.override.requests, Unit: d.override.unit}
		}
		if d.counted {
			one.HitsAddend = wrapperspb.UInt64(d.hits)
		}
		m.Descriptors[i] = one
	}
	return m
}

// limitAnswer follows a call of whose limits its response tells.
type limitAnswer struct {
	add     []addedHeader
	refusal *serviceLimitConfig // of a call that is over the limit; nil for others
	end     *limitEnd           // nil if nobody is told
}

type addedHeader struct {
	name  *filter.HeaderName
	value string
}

// answer is what the response to a call tells; nil for nothing.
func (c *serviceLimitConfig) answer(asked []limitDescriptor, m *servicev3.RateLimitResponse, over bool) *limitAnswer {
	var a limitAnswer
	for _, h := range m.GetResponseHeadersToAdd() {
		if name, ok := addedName(h); ok {
			a.add = append(a.add, addedHeader{name, h.GetValue()})
		}
	}
	if over && !c.noMark {
		a.add = append(a.add, addedHeader{limitedHeader, "true"})
	}
	a.add = append(a.add, c.statusHeaders(asked, m.GetStatuses())...)
	if over && c.retryAfter && c.status == tooManyRequests && !a.has(retryAfterHeader) {
		if seconds, ok := resetOf(m.GetStatuses()); ok {
			a.add = append(a.add, addedHeader{retryAfterHeader, strconv.FormatInt(seconds, 10)})
		}
	}
	if len(a.add) == 0 {
		return nil
	}
	return &a
}

func (a *limitAnswer) has(name *filter.HeaderName) bool {
	for _, h := range a.add {
		if h.name.Lower == name.Lower {
			return true
		}
	}
	return false
}

var (
	limitedHeader     = filter.NewHeaderName("x-envoy-ratelimited")
	contentTypeHeader = filter.NewHeaderName("content-type")
)

// Response tells of the limit. Of a refusal the service may say what type its body is.
func (a *limitAnswer) Response(_ context.Context, r *filter.Response) error {
	if a.refusal != nil && a.has(contentTypeHeader) {
		r.Header.Del(contentTypeHeader)
	}
	for _, h := range a.add {
		r.Header.Add(h.name, h.value)
	}
	if a.refusal != nil {
		a.refusal.response.applyResponse(&r.Header, r)
	}
	return nil
}

func (a *limitAnswer) End(o filter.Outcome) { a.end.End(o) }

// addedName is the name of a header that a service adds; ok is false for one that must not
// be: those that frame a message, and what is none.
func addedName(h *corev3.HeaderValue) (name *filter.HeaderName, ok bool) {
	if !validHeaderName(h.GetKey()) || !httpguts.ValidHeaderFieldValue(h.GetValue()) {
		return nil, false
	}
	switch name = filter.NewHeaderName(h.GetKey()); name.Lower {
	case "host", "content-length", "transfer-encoding", "connection", "upgrade", "trailer":
		return nil, false
	}
	return name, true
}

// windows are the units of limits in seconds, as they are told.
var windows = map[servicev3.RateLimitResponse_RateLimit_Unit]uint32{
	servicev3.RateLimitResponse_RateLimit_SECOND: 1,
	servicev3.RateLimitResponse_RateLimit_MINUTE: 60,
	servicev3.RateLimitResponse_RateLimit_HOUR:   3600,
	servicev3.RateLimitResponse_RateLimit_DAY:    86400,
	servicev3.RateLimitResponse_RateLimit_WEEK:   7 * 86400,
	servicev3.RateLimitResponse_RateLimit_MONTH:  30 * 86400,
	servicev3.RateLimitResponse_RateLimit_YEAR:   365 * 86400,
}

// tellsOf reports whether responses tell of the limit of the i-th descriptor.
func (c *serviceLimitConfig) tellsOf(asked []limitDescriptor, i int) bool {
	if i >= len(asked) || asked[i].xHeaders == routev3.RateLimit_UNSPECIFIED {
		return c.xHeaders
	}
	return asked[i].xHeaders == routev3.RateLimit_DRAFT_VERSION_03
}

// statusHeaders are the headers that tell of the limit of which the least is left, if it
// is one to tell of, and of the windows of all such (draft-polli-ratelimit-headers-03).
func (c *serviceLimitConfig) statusHeaders(asked []limitDescriptor, statuses []*servicev3.RateLimitResponse_DescriptorStatus) []addedHeader {
	var least *servicev3.RateLimitResponse_DescriptorStatus
	var policy strings.Builder
	told := false
	for i, s := range statuses {
		limit := s.GetCurrentLimit()
		if limit == nil {
			continue
		}
		tells := c.tellsOf(asked, i)
		if least == nil || s.GetLimitRemaining() < least.GetLimitRemaining() {
			least, told = s, tells
		}
		window := windows[limit.GetUnit()]
		if window == 0 || !tells {
			continue
		}
		policy.WriteString(", " + strconv.FormatUint(uint64(limit.GetRequestsPerUnit()), 10) + ";w=" + strconv.FormatUint(uint64(window), 10))
		if name := limit.GetName(); name != "" && httpguts.ValidHeaderFieldValue(name) {
			policy.WriteString(`;name="` + name + `"`)
		}
	}
	if !told {
		return nil
	}
	return []addedHeader{
		{limitHeaderName, strconv.FormatUint(uint64(least.GetCurrentLimit().GetRequestsPerUnit()), 10) + policy.String()},
		{remainingHeaderName, strconv.FormatUint(uint64(least.GetLimitRemaining()), 10)},
		{resetHeaderName, strconv.FormatInt(least.GetDurationUntilReset().GetSeconds(), 10)},
	}
}

// resetOf is in how many seconds, at least one, all limits that a call is over are reset;
// ok is false if it is over none.
func resetOf(statuses []*servicev3.RateLimitResponse_DescriptorStatus) (seconds int64, ok bool) {
	seconds = 1
	for _, s := range statuses {
		if s.GetCode() == servicev3.RateLimitResponse_OVER_LIMIT {
			ok = true
			seconds = max(seconds, int64(math.Ceil(s.GetDurationUntilReset().AsDuration().Seconds())))
		}
	}
	return seconds, ok
}
