package resolver

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"golang.org/x/net/http/httpguts"
)

// hashRule is one way to a hash of a request
// (envoy.config.route.v3.RouteAction.HashPolicy; for gRPC by gRFC A42).
type hashRule struct {
	source   hashSource
	terminal bool

	header  headerRef // hashHeader
	rewrite *regexRewrite

	name     string // of a cookie or query parameter
	generate bool   // hashCookie: give one to a client that has none
	// attributes of a generated cookie, from the first semicolon on.
	attributes string
}

type hashSource uint8

const (
	hashHeader hashSource = iota
	hashCookie
	hashQuery
	hashChannel
)

// HasHash reports whether policy says how to hash the route's calls.
func (r *Route) HasHash() bool { return len(r.hash) > 0 }

// Hash returns the hash of a call by the route's hash policy, for clusters whose
// balancing policy goes by it. channel stands for the client that the call is made
// through (gRFC A42, io.grpc.channel_id); 0 is none. ok is false when no rule applies to the
// call. setCookie are the Set-Cookie headers to add to the response, one to a line.
//
// The hash is XXH64 with seed 0. The hashes of several rules are combined as Envoy
// does (hash_policy.cc): the former rotated left by one bit, xor the next. A rule that
// is terminal ends it once there is a hash.
func (r *Route) Hash(req *Request, channel uint64) (hash uint64, ok bool, setCookie string) {
	for i := range r.hash {
		rule := &r.hash[i]
		if h, applies := rule.hash(req, channel, &setCookie); applies {
			hash = bits.RotateLeft64(hash, 1) ^ h
			ok = true
		}
		if ok && rule.terminal {
			break
		}
	}
	return hash, ok, setCookie
}

func (h *hashRule) hash(r *Request, channel uint64, setCookie *string) (hash uint64, ok bool) {
	switch h.source {
	case hashHeader:
		return h.hashHeader(r)
	case hashChannel:
		return channel, channel != 0
	case hashQuery:
		if !r.GRPC { // gRFC A42
			v, ok := queryValue(r.RawQuery, h.name)
			return xxhash.Sum64String(v), ok
		}
	case hashCookie:
		if !r.GRPC { // gRFC A42
			v, _ := cookieValue(r, h.name)
			if v == "" && h.generate {
				v = strconv.FormatUint(rand.Uint64(), 16)
				if *setCookie != "" {
					*setCookie += "\n"
				}
				*setCookie += h.name + `="` + v + `"` + h.attributes
			}
			return xxhash.Sum64String(v), v != ""
		}
	}
	return 0, false
}

// hashHeader hashes a header. Of several values gRPC hashes them all, joined as for
// matching. Envoy hashes each with the hash of the one before as its seed, after
// sorting.
func (h *hashRule) hashHeader(r *Request) (hash uint64, ok bool) {
	if !r.GRPC && h.header.source == sourceHeader && r.Headers != nil {
		if values := r.Headers.Values(h.header.name); len(values) > 1 {
			return h.hashValues(values), true
		}
	}
	v, ok := h.header.get(r)
	if ok && h.rewrite != nil {
		v = h.rewrite.replace(v)
	}
	return xxhash.Sum64String(v), ok
}

func (h *hashRule) hashValues(values []string) (hash uint64) {
	values = slices.Clone(values)
	if h.rewrite != nil {
		for i, v := range values {
			values[i] = h.rewrite.replace(v)
		}
	}
	slices.Sort(values)
	for _, v := range values {
		d := xxhash.NewWithSeed(hash)
		_, _ = d.WriteString(v)
		hash = d.Sum64()
	}
	return hash
}

// channelIDKey is the filter state that stands for a gRPC channel (gRFC A42).
const channelIDKey = "io.grpc.channel_id"

// hashPolicies compiles a route's hash policy. What cannot be known on a client is
// said, and hashes no call (gRFC A42).
func (p *path) hashPolicies(list []*routev3.RouteAction_HashPolicy) ([]hashRule, error) {
	var rules []hashRule
	for i, m := range list {
		q := p.at("hash_policy", i)
		rule := hashRule{terminal: m.GetTerminal()}
		switch s := m.GetPolicySpecifier().(type) {
		case *routev3.RouteAction_HashPolicy_Header_:
			if err := q.to("header").hashHeader(s.Header, &rule); err != nil {
				return nil, err
			}
		case *routev3.RouteAction_HashPolicy_Cookie_:
			if err := q.to("cookie").hashCookie(s.Cookie, &rule); err != nil {
				return nil, err
			}
		case *routev3.RouteAction_HashPolicy_QueryParameter_:
			rule.source, rule.name = hashQuery, s.QueryParameter.GetName()
			if rule.name == "" {
				return nil, q.to("query_parameter").to("name").errorf("must not be empty")
			}
		case *routev3.RouteAction_HashPolicy_FilterState_:
			if s.FilterState.GetKey() != channelIDKey {
				q.to("filter_state").warn()
				continue
			}
			rule.source = hashChannel
		case *routev3.RouteAction_HashPolicy_ConnectionProperties_:
			if s.ConnectionProperties.GetSourceIp() {
				q.to("connection_properties").warn()
			}
			continue
		default:
			q.warn() // of the future (gRFC A42)
			continue
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func (p *path) hashHeader(m *routev3.RouteAction_HashPolicy_Header, to *hashRule) error {
	if m.GetHeaderName() == "" {
		return p.to("header_name").errorf("must not be empty")
	}
	to.source, to.header = hashHeader, newHeaderRef(m.GetHeaderName())
	if m.GetRegexRewrite() == nil {
		return nil
	}
	var err error
	to.rewrite, err = p.to("regex_rewrite").regexRewrite(m.GetRegexRewrite())
	return err
}

func (p *path) hashCookie(m *routev3.RouteAction_HashPolicy_Cookie, to *hashRule) error {
	to.source, to.name = hashCookie, m.GetName()
	if !httpguts.ValidHeaderFieldName(m.GetName()) {
		return p.to("name").errorf("%q is not the name of a cookie", m.GetName())
	}
	ttl, err := p.duration("ttl", m.GetTtl())
	if err != nil {
		return err
	}
	to.generate = ttl.set
	attributes := make([]cookieAttribute, len(m.GetAttributes()))
	for i, a := range m.GetAttributes() {
		attributes[i] = a
	}
	to.attributes, err = p.cookieAttributes(ttl.d, m.GetPath(), attributes)
	return err
}

// cookieAttribute is an attribute of a cookie in policy.
type cookieAttribute interface {
	GetName() string
	GetValue() string
}

// cookieAttributes is the part of a Set-Cookie header that follows the value, as Envoy's
// makeSetCookieValue writes it.
func (p *path) cookieAttributes(ttl time.Duration, path string, attributes []cookieAttribute) (string, error) {
	var b strings.Builder
	if seconds := int64(math.Floor(ttl.Seconds())); seconds > 0 {
		b.WriteString("; Max-Age=" + strconv.FormatInt(seconds, 10))
	}
	if path != "" {
		b.WriteString("; Path=" + path)
	}
	for _, a := range attributes {
		b.WriteString("; " + a.GetName())
		if a.GetValue() != "" {
			b.WriteString("=" + a.GetValue())
		}
	}
	b.WriteString("; HttpOnly")
	if !httpguts.ValidHeaderFieldValue(b.String()) {
		return "", p.errorf("path or attributes have characters that a header cannot have")
	}
	return b.String(), nil
}
