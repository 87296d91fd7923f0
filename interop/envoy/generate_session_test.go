package envoy

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	statefulsessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/type/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	sessionFilter = "envoy.filters.http.stateful_session"
	sessionState  = "envoy.http.stateful_session."
	sessionCookie = "sticky"
	sessionHeader = "x-session"
)

// session makes up how a session is kept: by a cookie or a header, strict or not.
func (g *generator) session() *statefulsessionv3.StatefulSession {
	state, name := proto.Message(&headerv3.HeaderBasedSessionState{Name: sessionHeader}), "header"
	if g.one(2) {
		c := &httpv3.Cookie{Name: sessionCookie, Path: pick(g, "", "/", "/a", "/a/")}
		if g.one(2) {
			c.Ttl = durationpb.New(2 * long)
		}
		if g.one(3) {
			c.Attributes = []*httpv3.CookieAttribute{{Name: "SameSite", Value: "Lax"}, {Name: "Secure"}}
		}
		state, name = &cookiev3.CookieBasedSessionState{Cookie: c}, "cookie"
	}
	s := &statefulsessionv3.StatefulSession{
		SessionState: &corev3.TypedExtensionConfig{Name: sessionState + name, TypedConfig: pack(g.t, state)},
		Strict:       g.one(3),
	}
	if g.one(2) {
		s.StatusOnStrictDestinationNotFound = pick(g, uint32(410), 404, 599)
	}
	return s
}

// sessionRoute makes up a route with the listener's sessions, its own or none.
func (g *generator) sessionRoute(cluster, path string) *routev3.Route {
	r := toCluster(cluster, nil).VirtualHosts[0].Routes[0]
	r.Match.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: path}
	override := &statefulsessionv3.StatefulSessionPerRoute{}
	switch g.IntN(6) {
	case 0:
		return r
	case 1:
		override.Override = &statefulsessionv3.StatefulSessionPerRoute_Disabled{Disabled: true}
	default:
		override.Override = &statefulsessionv3.StatefulSessionPerRoute_StatefulSession{StatefulSession: g.session()}
	}
	r.TypedPerFilterConfig = map[string]*anypb.Any{sessionFilter: pack(g.t, override)}
	return r
}

// overridden makes up which health an endpoint must have for a session to stay.
func (g *generator) overridden(c *clusterv3.Cluster) {
	c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{}} // none
	if !g.grpc && g.one(3) {                                                                       // gRPC's default leaves DEGRADED out (gRFC A55)
		return
	}
	set := &corev3.HealthStatusSet{}
	for _, s := range sessionHealth {
		// gRPC heeds three of them, and keeps to a draining endpoint only if it was
		// connected to it before (gRFC A55).
		if g.one(2) && (!g.grpc || s == corev3.HealthStatus_UNKNOWN || s == corev3.HealthStatus_HEALTHY) {
			set.Statuses = append(set.Statuses, s)
		}
	}
	c.CommonLbConfig.OverrideHostStatus = set
}

var sessionHealth = []corev3.HealthStatus{
	corev3.HealthStatus_UNKNOWN, corev3.HealthStatus_HEALTHY, corev3.HealthStatus_UNHEALTHY,
	corev3.HealthStatus_DRAINING, corev3.HealthStatus_TIMEOUT, corev3.HealthStatus_DEGRADED,
}
