package envoy

import (
	"encoding/json"
	"strings"
	"time"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// limitKey is a key of descriptors.
func (g *generator) limitKey() string { return pick(g, "k", "k", "l") }

// limitAction makes up an action. What says where a call comes from is of servers: within a
// program it comes from nowhere. They in turn forward nothing to a cluster.
func (g *generator) limitAction() *routev3.RateLimit_Action {
	a := &routev3.RateLimit_Action{}
	if g.inbound && g.one(3) {
		return g.addressAction()
	}
	switch g.IntN(10) {
	case 0:
		a.ActionSpecifier = &routev3.RateLimit_Action_SourceCluster_{SourceCluster: &routev3.RateLimit_Action_SourceCluster{}}
	case 1:
		if g.inbound {
			return g.addressAction()
		}
		a.ActionSpecifier = &routev3.RateLimit_Action_DestinationCluster_{DestinationCluster: &routev3.RateLimit_Action_DestinationCluster{}}
	case 2, 3:
		a.ActionSpecifier = &routev3.RateLimit_Action_RequestHeaders_{RequestHeaders: &routev3.RateLimit_Action_RequestHeaders{
			HeaderName: pick(g, g.headerName(), g.headerName(), ":path", ":method", ":authority"), DescriptorKey: g.limitKey(), SkipIfAbsent: g.one(2),
		}}
	case 4:
		a.ActionSpecifier = &routev3.RateLimit_Action_QueryParameters_{QueryParameters: &routev3.RateLimit_Action_QueryParameters{
			QueryParameterName: g.param(), DescriptorKey: g.limitKey(), SkipIfAbsent: g.one(2),
		}}
	case 5:
		v := &routev3.RateLimit_Action_HeaderValueMatch{DescriptorValue: g.limitValue(), DescriptorKey: pick(g, "", g.limitKey()), Headers: []*routev3.HeaderMatcher{g.headerMatcher()}}
		if g.one(2) {
			v.ExpectMatch = wrapperspb.Bool(g.one(2))
		}
		if g.one(3) {
			v.Headers = append(v.Headers, g.headerMatcher())
		}
		a.ActionSpecifier = &routev3.RateLimit_Action_HeaderValueMatch_{HeaderValueMatch: v}
	case 6:
		v := &routev3.RateLimit_Action_QueryParameterValueMatch{DescriptorValue: g.limitValue(), DescriptorKey: pick(g, "", g.limitKey()), QueryParameters: []*routev3.QueryParameterMatcher{g.queryMatcher()}}
		if g.one(2) {
			v.ExpectMatch = wrapperspb.Bool(g.one(2))
		}
		a.ActionSpecifier = &routev3.RateLimit_Action_QueryParameterValueMatch_{QueryParameterValueMatch: v}
	case 7:
		m := &routev3.RateLimit_Action_MetaData{
			DescriptorKey: g.limitKey(), DefaultValue: pick(g, "", "otherwise"), SkipIfAbsent: g.one(2),
			MetadataKey: &metadatav3.MetadataKey{Key: pick(g, "m", "n"), Path: []*metadatav3.MetadataKey_PathSegment{{Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: pick(g, "a", "b", "c")}}}},
			Source:      pick(g, routev3.RateLimit_Action_MetaData_ROUTE_ENTRY, routev3.RateLimit_Action_MetaData_ROUTE_ENTRY, routev3.RateLimit_Action_MetaData_DYNAMIC),
		}
		a.ActionSpecifier = &routev3.RateLimit_Action_Metadata{Metadata: m}
	default:
		a.ActionSpecifier = &routev3.RateLimit_Action_GenericKey_{GenericKey: &routev3.RateLimit_Action_GenericKey{DescriptorValue: g.limitValue(), DescriptorKey: pick(g, "", g.limitKey())}}
	}
	return a
}

// callerAddresses are where calls to servers come from.
var callerAddresses = []string{"127.0.0.1", "127.0.0.2", "127.0.9.1", "127.200.0.1"}

// addressAction makes up what says where a call comes from.
func (g *generator) addressAction() *routev3.RateLimit_Action {
	switch g.IntN(3) {
	case 0:
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RemoteAddress_{RemoteAddress: &routev3.RateLimit_Action_RemoteAddress{}}}
	case 1:
		m := &routev3.RateLimit_Action_MaskedRemoteAddress{}
		if !g.one(4) {
			m.V4PrefixMaskLen = wrapperspb.UInt32(pick(g, uint32(0), 8, 9, 20, 24, 31, 32))
		}
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_MaskedRemoteAddress_{MaskedRemoteAddress: m}}
	default:
		m := &routev3.RateLimit_Action_RemoteAddressMatch{
			DescriptorKey: pick(g, "", g.limitKey()), DescriptorValue: g.limitValue(), DefaultValue: pick(g, "", "none"),
			AddressMatcher: &matcherv3.AddressMatcher{InvertMatch: g.one(3)},
		}
		for range 1 + g.IntN(2) {
			m.AddressMatcher.Ranges = append(m.AddressMatcher.Ranges, &xdscorev3.CidrRange{
				AddressPrefix: pick(g, append(callerAddresses, "10.0.0.0", "::1")...), PrefixLen: wrapperspb.UInt32(pick(g, uint32(0), 8, 16, 24, 30, 32)),
			})
		}
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RemoteAddressMatch_{RemoteAddressMatch: m}}
	}
}

func (g *generator) limitValue() string { return pick(g, "1", "a", "b", "%REQ(x-a)%") }

// limitMetadata is that of a route.
func limitMetadata() *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"m": {Fields: map[string]*structpb.Value{
		"a": structpb.NewStringValue("of the route"), "b": structpb.NewNumberValue(7),
	}}}}
}

// rateLimits makes up the limits of a route, a virtual host or, if own, of a filter.
func (g *generator) rateLimits(own, local bool) (list []*routev3.RateLimit) {
	for range g.IntN(4) {
		l := &routev3.RateLimit{XRatelimitOption: pick(g, routev3.RateLimit_UNSPECIFIED, routev3.RateLimit_UNSPECIFIED, routev3.RateLimit_OFF, routev3.RateLimit_DRAFT_VERSION_03)}
		for range 1 + g.IntN(3) {
			l.Actions = append(l.Actions, g.limitAction())
			if local && g.one(2) {
				break // so that descriptors of policy are met
			}
		}
		if !own && g.one(3) {
			l.Stage = wrapperspb.UInt32(pick(g, uint32(0), 1))
		}
		if !own && g.one(8) {
			l.DisableKey = "off"
		}
		if own && g.one(3) {
			l.HitsAddend = &routev3.RateLimit_HitsAddend{Number: wrapperspb.UInt64(pick(g, uint64(0), 1, 2, 3))}
			if g.one(3) {
				l.HitsAddend = &routev3.RateLimit_HitsAddend{Format: pick(g, "%REQ(x-a)%", "%REQ(x-b)%")}
			}
			l.HitsAddend.IsNegativeHits = g.one(4)
			if h := l.GetHitsAddend(); local && h.GetNumber() != nil && h.GetNumber().GetValue() == 0 && !h.GetIsNegativeHits() {
				h.Number.Value = 4
			}
		}
		if !local && g.one(5) {
			l.ApplyOnStreamDone = true
		}
		if !local && g.one(4) {
			l.Limit = &routev3.RateLimit_Override{OverrideSpecifier: &routev3.RateLimit_Override_RateLimit{RateLimit: &routev3.RateLimit_Override_RateLimitOverride{RequestsPerUnit: 5, Unit: typev3.RateLimitUnit_HOUR}}}
		}
		list = append(list, l)
	}
	return list
}

// bucket is one that does not fill while a test runs.
func (g *generator) bucket(most int) *typev3.TokenBucket {
	b := &typev3.TokenBucket{MaxTokens: uint32(g.IntN(most)), FillInterval: durationpb.New(pick(g, time.Hour, 2*time.Hour, 24*time.Hour))}
	if g.one(2) {
		b.TokensPerFill = wrapperspb.UInt32(pick(g, uint32(1), 2, 3))
	}
	return b
}

// localLimit makes up a local limit with buckets for descriptors that may be met.
func (g *generator) localLimit() *localratelimitv3.LocalRateLimit {
	all := func(n uint32) *corev3.RuntimeFractionalPercent {
		return &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: n}}
	}
	m := &localratelimitv3.LocalRateLimit{
		StatPrefix: "l", FilterEnabled: all(pick(g, uint32(100), 100, 100, 0)), FilterEnforced: all(pick(g, uint32(100), 100, 100, 0)),
		TokenBucket: g.bucket(40), Stage: pick(g, uint32(0), 0, 1),
		VhRateLimits:                   limitv3.VhRateLimitsOptions(g.IntN(3)),
		RateLimitedAsResourceExhausted: g.one(2),
		EnableXRatelimitHeaders:        limitv3.XRateLimitHeadersRFCVersion(g.IntN(2)),
	}
	if g.one(3) {
		m.Status = &typev3.HttpStatus{Code: pick(g, typev3.StatusCode_OK, typev3.StatusCode_ServiceUnavailable, typev3.StatusCode_Forbidden)}
	}
	if g.one(2) {
		m.AlwaysConsumeDefaultTokenBucket = wrapperspb.Bool(g.one(2))
	}
	if g.one(3) {
		m.RateLimits = g.rateLimits(true, true)
	}
	if g.one(3) {
		m.ResponseHeadersToAdd = []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-r", Value: "(%REQ(x-a)%)"}}}
		m.RequestHeadersToAddWhenNotEnforced = []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-a", Value: "over"}}}
	}
	seen := map[string]bool{}
	for range g.IntN(6) {
		key, value := pick(g, "k", "l", "generic_key", "header_match", "query_match"), pick(g, "", "", "1", "a", "b")
		if g.inbound && g.one(2) {
			key, value = "remote_address", pick(g, append(callerAddresses, "")...)
			if g.one(2) {
				key, value = "masked_remote_address", pick(g, "", "127.0.0.0/8", "127.0.0.2/32", "127.0.0.0/20")
			}
		}
		if seen[key+"="+value] || value == "" && seen[key] {
			continue
		}
		seen[key+"="+value], seen[key] = true, true
		m.Descriptors = append(m.Descriptors, &limitv3.LocalRateLimitDescriptor{
			Entries:     []*limitv3.RateLimitDescriptor_Entry{{Key: key, Value: value}},
			TokenBucket: g.bucket(12),
		})
	}
	if g.one(4) && len(m.GetDescriptors()) > 0 { // a shadow, and nothing that it opens
		one := m.GetDescriptors()[0]
		one.ShadowMode, one.GetEntries()[0].Value = true, pick(g, "1", "a", "b")
		m.Descriptors, m.AlwaysConsumeDefaultTokenBucket = m.GetDescriptors()[:1], wrapperspb.Bool(false)
		for _, l := range m.GetRateLimits() {
			l.HitsAddend = nil
		}
	}
	return m
}

// limitedRequest makes up a request, with something for the actions to find.
func (g *generator) limitedRequest() request {
	r := g.request()
	r.host = "shop"
	if g.inbound {
		r.host = pick(g, callerAddresses...)
		for i := 0; i < len(r.header); i += 2 {
			if strings.HasPrefix(r.header[i], "x-want-") { // of backends
				r.header[i] = "x-other"
			}
		}
	}
	if !g.grpc && g.one(3) {
		r.path = g.path() + pick(g, "?q=a+b", "?q=%41", "?q", "?q=&r=1", "?%71=1", "?q=%zz", "?r=a%20b&q=1&q=2", "?q=%2", "?q=a=b")
	}
	return r
}

// serviceLimit makes up a filter that asks a service, less the service.
func (g *generator) serviceLimit() *ratelimitv3.RateLimit {
	m := &ratelimitv3.RateLimit{
		Domain: "d", Stage: pick(g, uint32(0), 0, 1), RequestType: pick(g, "", "", "both", "external", "internal"),
		Timeout: durationpb.New(long), FailureModeDeny: g.one(2), RateLimitedAsResourceExhausted: g.one(2),
		EnableXRatelimitHeaders:        ratelimitv3.RateLimit_XRateLimitHeadersRFCVersion(g.IntN(2)),
		DisableXEnvoyRatelimitedHeader: g.one(3),
	}
	if g.one(3) {
		m.RateLimitedStatus = &typev3.HttpStatus{Code: pick(g, typev3.StatusCode_OK, typev3.StatusCode_ServiceUnavailable)}
	}
	if g.one(3) {
		m.StatusOnError = &typev3.HttpStatus{Code: pick(g, typev3.StatusCode_Forbidden, typev3.StatusCode_ServiceUnavailable)}
	}
	if g.one(3) {
		m.ResponseHeadersToAdd = []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-r", Value: "(%REQ(x-a)%)"}}}
	}
	if g.one(4) {
		m.FilterEnforced = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: pick(g, uint32(0), 100)}}
	}
	if g.one(4) {
		m.FailureModeDenyPercent = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: pick(g, uint32(0), 100)}}
	}
	if g.one(4) {
		m.RateLimits = g.rateLimits(true, false)
	}
	return m
}

// serviceLimitOverride makes up what a route says of it; nil for nothing.
func (g *generator) serviceLimitOverride() proto.Message {
	if g.one(2) {
		return nil
	}
	m := &ratelimitv3.RateLimitPerRoute{VhRateLimits: ratelimitv3.RateLimitPerRoute_VhRateLimitsOptions(g.IntN(3)), Domain: pick(g, "", "e")}
	if g.one(2) {
		m.RateLimits = g.rateLimits(true, false)
	}
	return m
}

// limitServiceAt names a service. Weft wants to be told that it is asked in plaintext,
// in words that Envoy does not know.
func limitServiceAt(addr string, credentials ...*anypb.Any) *rlsv3.RateLimitServiceConfig {
	return &rlsv3.RateLimitServiceConfig{
		TransportApiVersion: corev3.ApiVersion_V3,
		GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_GoogleGrpc_{GoogleGrpc: &corev3.GrpcService_GoogleGrpc{
			TargetUri: addr, StatPrefix: "limits", ChannelCredentialsPlugin: credentials,
		}}},
	}
}

// canonical is JSON as there is just one of.
func canonical(text []byte) (string, error) {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return "", err
	}
	out, err := json.Marshal(v)
	return string(out), err
}
