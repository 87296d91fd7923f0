package policy

import (
	"strings"

	"google.golang.org/protobuf/types/known/anypb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statefulsessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/type/http/v3"
)

// sessionFilter is the name of the filter that sessions compile to.
const sessionFilter = "envoy.filters.http.stateful_session"

// filters are those of a name: those of its faults and rate limits, the ones that it lists and, behind
// them, its sessions'. That is optional, because stock gRPC clients refuse a list with a
// filter that they do not know.
func (c *compiler) filters(host string) []*Filter {
	filters := c.faultFilters(host, c.rateLimitFilters(host, c.scope.policy.Filters[host]))
	if !c.scope.policy.hasSessions(host) {
		return filters
	}
	config := &statefulsessionv3.StatefulSession{} // none, but for routes that have their own
	if s := c.scope.policy.Services[host]; s != nil && s.Session != nil {
		config = statefulSession(s.Session)
	}
	return append(filters[:len(filters):len(filters)], &Filter{Name: sessionFilter, Config: pack(config), Optional: true})
}

// hasSessions reports whether calls to a name may have sessions.
func (p *Policy) hasSessions(host string) bool {
	if s := p.Services[host]; s != nil && s.Session != nil {
		return true
	}
	for _, r := range p.Routes[host] {
		if r.Session != nil {
			return true
		}
	}
	return false
}

// overrides are the route's overrides of filters.
func (c *compiler) overrides(host string, r *Route) map[string]*anypb.Any {
	configs := filterOverrides(r.Filters)
	if r.Session == nil && r.Fault == nil && r.RateLimit == nil {
		return configs
	}
	if configs == nil {
		configs = make(map[string]*anypb.Any, 1)
	}
	c.rateLimitOverrides(host, r.RateLimit, configs)
	if r.Fault != nil {
		configs[faultFilter] = pack(c.fault(host, r.Fault))
	}
	if r.Session == nil {
		return configs
	}
	m := &statefulsessionv3.StatefulSessionPerRoute{
		Override: &statefulsessionv3.StatefulSessionPerRoute_StatefulSession{StatefulSession: statefulSession(r.Session)},
	}
	if r.Session.Disabled {
		m.Override = &statefulsessionv3.StatefulSessionPerRoute_Disabled{Disabled: true}
	}
	configs[sessionFilter] = pack(m)
	return configs
}

func statefulSession(s *Session) *statefulsessionv3.StatefulSession {
	m := &statefulsessionv3.StatefulSession{Strict: s.Strict}
	if s.Cookie != nil {
		m.SessionState = &corev3.TypedExtensionConfig{
			Name: "envoy.http.stateful_session.cookie",
			TypedConfig: pack(&cookiev3.CookieBasedSessionState{Cookie: &httpv3.Cookie{
				Name: s.Cookie.Name, Path: s.Cookie.Path, Ttl: optionalDuration(s.Cookie.TTL),
			}}),
		}
	} else {
		m.SessionState = &corev3.TypedExtensionConfig{
			Name:        "envoy.http.stateful_session.header",
			TypedConfig: pack(&headerv3.HeaderBasedSessionState{Name: strings.ToLower(s.Header)}),
		}
	}
	return m
}

// setSession says which endpoints sessions may stay at.
func setSession(cluster *clusterv3.Cluster, s *Session) {
	if s != nil && s.KeepDraining {
		common(cluster).OverrideHostStatus = &corev3.HealthStatusSet{Statuses: []corev3.HealthStatus{
			corev3.HealthStatus_UNKNOWN, corev3.HealthStatus_HEALTHY, corev3.HealthStatus_DRAINING, corev3.HealthStatus_DEGRADED,
		}}
	}
}
