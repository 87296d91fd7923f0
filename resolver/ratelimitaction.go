package resolver

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weft-mesh/weft/filter"
)

// limitAction makes an entry of a descriptor from a request
// (envoy.config.route.v3.RateLimit.Action). The values that policy gives are taken as
// they are, without commands in them, as in Envoy by default; but for that of
// remote_address_match, which has them there too.
type limitAction struct {
	source limitSource
	key    string // of the entry
	value  string // of the entry; for metadata what stands in for one that is missing
	skip   bool   // without a value, leave out the entry and not the descriptor

	header  headerRef
	param   string
	expect  bool // headers or query must match; else must not
	headers []headerMatcher
	query   []queryMatcher

	masks    [2]int // of IPv4 and IPv6
	ranges   []netip.Prefix
	invert   bool
	format   *substitution           // of remote_address_match, where value stands in for an empty one
	metadata *metadatav3.MetadataKey // nil for dynamic metadata, of which there are none
}

type limitSource uint8

const (
	limitGenericKey limitSource = iota
	limitSourceCluster
	limitDestinationCluster
	limitHeader
	limitQuery
	limitRemote
	limitMaskedRemote
	limitRemoteMatch
	limitHeaderMatch
	limitQueryMatch
	limitMetadata
)

// limitInput is a request, and the route that it takes, as actions see them.
type limitInput struct {
	request *filter.Request
	asked   Request
	route   *limitedRoute
}

// get returns the entry's value. there is false if there is no entry, ok if there is no
// descriptor without it.
func (a *limitAction) get(in *limitInput) (value string, there, ok bool) {
	switch a.source {
	case limitSourceCluster:
		return in.route.source, true, true
	case limitDestinationCluster:
		return in.request.Cluster, in.route.forwards, in.route.forwards
	case limitHeader:
		value, there = a.header.first(&in.asked)
		return value, there, there || a.skip
	case limitQuery:
		value, there = decodedQueryValue(&in.asked, a.param)
		return value, there, there || a.skip
	case limitRemote, limitMaskedRemote, limitRemoteMatch:
		value, there = a.remote(in)
		return value, there, there
	case limitHeaderMatch:
		matches := !slices.ContainsFunc(a.headers, func(m headerMatcher) bool { return !m.match(&in.asked) })
		return a.value, true, matches == a.expect
	case limitQueryMatch:
		matches := !slices.ContainsFunc(a.query, func(m queryMatcher) bool {
			return !m.matchValue(decodedQueryValue(&in.asked, m.name))
		})
		return a.value, true, matches == a.expect
	case limitMetadata:
		if value = metadataText(in.route.metadata, a.metadata); value == "" {
			value = a.value
		}
		return value, value != "", value != "" || a.skip
	default:
		return a.value, true, true
	}
}

// remote is what is said of the address of whoever calls a server. A client has its calls
// from its own program, which has none.
func (a *limitAction) remote(in *limitInput) (value string, ok bool) {
	from, err := netip.ParseAddrPort(in.request.Peer)
	if err != nil {
		return "", false
	}
	ip := from.Addr().Unmap().WithZone("")
	switch a.source {
	case limitMaskedRemote:
		mask := a.masks[0]
		if ip.Is6() {
			mask = a.masks[1]
		}
		prefix, err := ip.Prefix(mask)
		return prefix.String(), err == nil
	case limitRemoteMatch:
		if slices.ContainsFunc(a.ranges, func(p netip.Prefix) bool { return p.Contains(ip) }) == a.invert {
			return "", false
		}
		of := subjectOf(in.request, &in.asked)
		value = orElse(a.format.value(&of), a.value)
		return value, value != ""
	default:
		return ip.String(), true
	}
}

// decodedQueryValue returns the first value of a query parameter, without escapes. A plus
// is a plus, as in Envoy.
func decodedQueryValue(r *Request, name string) (value string, ok bool) {
	if r.GRPC {
		return "", false
	}
	for query := r.RawQuery; query != ""; {
		var param string
		param, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(param, "=")
		if unescaped(key) == name {
			return unescaped(value), true
		}
	}
	return "", false
}

// unescaped is s without percent signs that mean something.
func unescaped(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}

// metadataText is the string at a key of metadata; empty if there is none.
func metadataText(m *corev3.Metadata, key *metadatav3.MetadataKey) string {
	if key == nil {
		return ""
	}
	at := structpb.NewStructValue(m.GetFilterMetadata()[key.GetKey()])
	for _, step := range key.GetPath() {
		switch s := step.GetSegment().(type) {
		case *metadatav3.MetadataKey_PathSegment_Key:
			at = at.GetStructValue().GetFields()[s.Key]
		case *metadatav3.MetadataKey_PathSegment_Index:
			list := at.GetListValue().GetValues()
			if int64(s.Index) >= int64(len(list)) {
				return ""
			}
			at = list[s.Index]
		}
	}
	return at.GetStringValue()
}

// limitAction reads an action. ok is false for one that cannot be had.
func (p *path) limitAction(m *routev3.RateLimit_Action) (a limitAction, ok bool, err error) {
	var required [2]struct{ field, value string }
	switch s := m.GetActionSpecifier().(type) {
	case *routev3.RateLimit_Action_SourceCluster_:
		a.source, a.key = limitSourceCluster, "source_cluster"
	case *routev3.RateLimit_Action_DestinationCluster_:
		a.source, a.key = limitDestinationCluster, "destination_cluster"
	case *routev3.RateLimit_Action_RemoteAddress_:
		a.source, a.key = limitRemote, "remote_address"
	case *routev3.RateLimit_Action_RequestHeaders_:
		p = p.to("request_headers")
		a.source, a.header, a.skip = limitHeader, newHeaderRef(s.RequestHeaders.GetHeaderName()), s.RequestHeaders.GetSkipIfAbsent()
		a.key = s.RequestHeaders.GetDescriptorKey()
		required[0].field, required[0].value = "header_name", s.RequestHeaders.GetHeaderName()
		required[1].field, required[1].value = "descriptor_key", a.key
	case *routev3.RateLimit_Action_QueryParameters_:
		p = p.to("query_parameters")
		a.source, a.param, a.skip = limitQuery, s.QueryParameters.GetQueryParameterName(), s.QueryParameters.GetSkipIfAbsent()
		a.key = s.QueryParameters.GetDescriptorKey()
		required[0].field, required[0].value = "query_parameter_name", a.param
		required[1].field, required[1].value = "descriptor_key", a.key
	case *routev3.RateLimit_Action_GenericKey_:
		p = p.to("generic_key")
		p.warnUnread(s.GenericKey, fieldNames("descriptor_key", "descriptor_value"))
		a.key, a.value = orElse(s.GenericKey.GetDescriptorKey(), "generic_key"), s.GenericKey.GetDescriptorValue()
		required[0].field, required[0].value = "descriptor_value", a.value
	case *routev3.RateLimit_Action_MaskedRemoteAddress_:
		a.source, a.key = limitMaskedRemote, "masked_remote_address"
		a.masks, err = p.to("masked_remote_address").limitMasks(s.MaskedRemoteAddress)
	case *routev3.RateLimit_Action_RemoteAddressMatch_:
		p = p.to("remote_address_match")
		p.warnUnread(s.RemoteAddressMatch, fieldNames("descriptor_key", "descriptor_value", "default_value", "address_matcher"))
		a.source, a.invert = limitRemoteMatch, s.RemoteAddressMatch.GetAddressMatcher().GetInvertMatch()
		a.key, a.value = orElse(s.RemoteAddressMatch.GetDescriptorKey(), "remote_address_match"), s.RemoteAddressMatch.GetDefaultValue()
		var known bool
		q := p.to("descriptor_value")
		required[0].field, required[0].value = "descriptor_value", s.RemoteAddressMatch.GetDescriptorValue()
		if a.format, known, err = q.substitution(s.RemoteAddressMatch.GetDescriptorValue(), false); err != nil {
			return a, false, err
		} else if !known {
			q.warn()
			return a, false, nil
		}
		a.ranges, err = p.to("address_matcher").addressRanges(s.RemoteAddressMatch.GetAddressMatcher())
	case *routev3.RateLimit_Action_HeaderValueMatch_:
		p = p.to("header_value_match")
		p.warnUnread(s.HeaderValueMatch, fieldNames("descriptor_key", "descriptor_value", "expect_match", "headers"))
		a.source, a.expect = limitHeaderMatch, s.HeaderValueMatch.GetExpectMatch() == nil || s.HeaderValueMatch.GetExpectMatch().GetValue()
		a.key, a.value = orElse(s.HeaderValueMatch.GetDescriptorKey(), "header_match"), s.HeaderValueMatch.GetDescriptorValue()
		required[0].field, required[0].value = "descriptor_value", a.value
		if len(s.HeaderValueMatch.GetHeaders()) == 0 {
			return a, false, p.to("headers").errorf("must not be empty")
		}
		a.headers, err = p.headerMatchers(s.HeaderValueMatch.GetHeaders())
	case *routev3.RateLimit_Action_QueryParameterValueMatch_:
		p = p.to("query_parameter_value_match")
		p.warnUnread(s.QueryParameterValueMatch, fieldNames("descriptor_key", "descriptor_value", "expect_match", "query_parameters"))
		a.source, a.expect = limitQueryMatch, s.QueryParameterValueMatch.GetExpectMatch() == nil || s.QueryParameterValueMatch.GetExpectMatch().GetValue()
		a.key, a.value = orElse(s.QueryParameterValueMatch.GetDescriptorKey(), "query_match"), s.QueryParameterValueMatch.GetDescriptorValue()
		required[0].field, required[0].value = "descriptor_value", a.value
		if len(s.QueryParameterValueMatch.GetQueryParameters()) == 0 {
			return a, false, p.to("query_parameters").errorf("must not be empty")
		}
		a.query, err = p.limitQuery(s.QueryParameterValueMatch.GetQueryParameters())
	case *routev3.RateLimit_Action_DynamicMetadata:
		p = p.to("dynamic_metadata")
		p.to("metadata_key").warn()
		a.source, a.key, a.value = limitMetadata, s.DynamicMetadata.GetDescriptorKey(), s.DynamicMetadata.GetDefaultValue()
		required[0].field, required[0].value = "descriptor_key", a.key
	case *routev3.RateLimit_Action_Metadata:
		p = p.to("metadata")
		a.source, a.skip = limitMetadata, s.Metadata.GetSkipIfAbsent()
		a.key, a.value = s.Metadata.GetDescriptorKey(), s.Metadata.GetDefaultValue()
		required[0].field, required[0].value = "descriptor_key", a.key
		switch s.Metadata.GetSource() {
		case routev3.RateLimit_Action_MetaData_ROUTE_ENTRY:
			a.metadata = s.Metadata.GetMetadataKey()
		case routev3.RateLimit_Action_MetaData_DYNAMIC:
			p.to("metadata_key").warn()
		default:
			return a, false, p.to("source").errorf("unknown value %d", s.Metadata.GetSource())
		}
	case nil:
		return a, false, p.errorf("must say what to do (generic_key, request_headers, ...)")
	default: // extension, and what the future brings
		p.warn()
		return a, false, nil
	}
	for _, r := range required {
		if err == nil && r.field != "" && r.value == "" {
			err = p.to(r.field).errorf("must not be empty")
		}
	}
	return a, err == nil, err
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (p *path) limitQuery(list []*routev3.QueryParameterMatcher) ([]queryMatcher, error) {
	matchers := make([]queryMatcher, len(list))
	for i, q := range list {
		var err error
		if matchers[i], err = p.at("query_parameters", i).queryMatcher(q); err != nil {
			return nil, err
		}
	}
	return matchers, nil
}

func (p *path) limitMasks(m *routev3.RateLimit_Action_MaskedRemoteAddress) (masks [2]int, err error) {
	masks = [2]int{32, 128}
	if v4 := m.GetV4PrefixMaskLen(); v4 != nil {
		if v4.GetValue() > 32 {
			return masks, p.to("v4_prefix_mask_len").errorf("%d is more than 32", v4.GetValue())
		}
		masks[0] = int(v4.GetValue())
	}
	if v6 := m.GetV6PrefixMaskLen(); v6 != nil {
		if v6.GetValue() > 128 {
			return masks, p.to("v6_prefix_mask_len").errorf("%d is more than 128", v6.GetValue())
		}
		masks[1] = int(v6.GetValue())
	}
	return masks, nil
}

// addressRanges reads the ranges of an envoy.type.matcher.v3.AddressMatcher.
func (p *path) addressRanges(m *matcherv3.AddressMatcher) ([]netip.Prefix, error) {
	var ranges []netip.Prefix
	for i, r := range m.GetRanges() {
		ip, err := netip.ParseAddr(r.GetAddressPrefix())
		if err != nil {
			return nil, p.at("ranges", i).to("address_prefix").errorf("%q is not an IP address", r.GetAddressPrefix())
		}
		length := r.GetPrefixLen().GetValue()
		prefix, err := ip.Prefix(int(min(length, 129)))
		if err != nil {
			return nil, p.at("ranges", i).to("prefix_len").errorf("%d is too long for %s", length, ip)
		}
		ranges = append(ranges, prefix)
	}
	return ranges, nil
}
