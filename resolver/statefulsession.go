package resolver

import (
	"context"
	"strings"

	statefulsessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	"golang.org/x/net/http/httpguts"

	"github.com/weft-mesh/weft/filter"
)

// statefulSessionKind keeps the calls of a session at one endpoint: which it is, the
// session says in a cookie or a header that the response to its first call brought
// (envoy.extensions.filters.http.stateful_session.v3.StatefulSession; gRFCs A55, A60).
// The endpoint counts as long as it is healthy enough for the cluster's
// override_host_status; then the session moves to another, unless it is strict.
type statefulSessionKind struct{}

func (statefulSessionKind) Types() []string {
	return []string{filterTypes + "stateful_session.v3.StatefulSession", filterTypes + "stateful_session.v3.StatefulSessionPerRoute"}
}

var (
	statefulSessionFields = fieldNames("session_state", "strict", "status_on_strict_destination_not_found")
	perRouteSessionFields = fieldNames("disabled", "stateful_session")
)

func (statefulSessionKind) Parse(c *filter.Config) (any, error) {
	p := filterDecoder(c)
	if !c.Override {
		var m statefulsessionv3.StatefulSession
		if err := c.Decode(&m); err != nil {
			return nil, err
		}
		return p.statefulSession(&m)
	}
	var m statefulsessionv3.StatefulSessionPerRoute
	if err := c.Decode(&m); err != nil {
		return nil, err
	}
	p.warnUnread(&m, perRouteSessionFields)
	switch o := m.GetOverride().(type) {
	case *statefulsessionv3.StatefulSessionPerRoute_Disabled:
		return &sessions{}, nil
	case *statefulsessionv3.StatefulSessionPerRoute_StatefulSession:
		return p.to("stateful_session").statefulSession(o.StatefulSession)
	}
	return nil, p.errorf("must have disabled or stateful_session")
}

// New takes the most specific configuration for all.
func (statefulSessionKind) New(config any, overrides []any) (filter.Filter, error) {
	if n := len(overrides); n > 0 {
		config = overrides[n-1]
	}
	if s := config.(*sessions); s.state != nil {
		return s, nil
	}
	return nil, nil
}

// sessions is the filter. Without a state it is none.
type sessions struct {
	state   sessionState
	strict  bool
	missing int
}

// sessionState is how a session says where it is.
type sessionState interface {
	// read returns what the request says; ok is false if it is none of the sessions'.
	read(r *filter.Request) (at sessionPlace, ok bool)
	// write has the response say it.
	write(r *filter.Response, at sessionPlace)
}

// sessionPlace is the endpoint of a session, and its cluster if that is known. Both are
// empty for a session that begins.
type sessionPlace struct{ address, cluster string }

func (s *sessions) Request(_ context.Context, r *filter.Request) (filter.Follower, error) {
	at, ok := s.state.read(r)
	if !ok {
		return nil, nil
	}
	if at.address != "" {
		r.Override = filter.Host{Address: at.address, Strict: s.strict, Missing: s.missing, Cluster: at.cluster}
	}
	return &session{s.state, at}, nil
}

// session follows one call of a session.
type session struct {
	state sessionState
	at    sessionPlace
}

// Response tells a session that is somewhere else than it was.
func (s *session) Response(_ context.Context, r *filter.Response) error {
	if r.Endpoint == "" {
		return nil // nobody answered
	}
	now := sessionPlace{address: r.Endpoint}
	if r.Request.GRPC {
		now.cluster = r.Cluster
	}
	if s.at.address != now.address || s.at.cluster != "" && s.at.cluster != now.cluster {
		s.state.write(r, now)
	}
	return nil
}

func (s *session) End(filter.Outcome) {}

func (p *path) statefulSession(m *statefulsessionv3.StatefulSession) (*sessions, error) {
	p.warnUnread(m, statefulSessionFields)
	s := &sessions{strict: m.GetStrict()}
	if status := int(m.GetStatusOnStrictDestinationNotFound()); status != 0 && s.strict {
		if status < 200 || status > 599 {
			return nil, p.to("status_on_strict_destination_not_found").errorf("%d is not from 200 to 599", status)
		}
		s.missing = status
	}
	config := m.GetSessionState().GetTypedConfig()
	if config == nil {
		return s, nil
	}
	p = p.to("session_state").to("typed_config")
	const states = "type.googleapis.com/envoy.extensions.http.stateful_session."
	switch config.GetTypeUrl() {
	case states + "cookie.v3.CookieBasedSessionState":
		var m cookiev3.CookieBasedSessionState
		if err := p.policyConfig(config, &m, fieldNames("cookie")); err != nil {
			return nil, err
		}
		cookie, err := p.to("cookie").sessionCookie(m.GetCookie())
		s.state = cookie
		return s, err
	case states + "header.v3.HeaderBasedSessionState":
		var m headerv3.HeaderBasedSessionState
		if err := p.policyConfig(config, &m, fieldNames("name")); err != nil {
			return nil, err
		}
		if !httpguts.ValidHeaderFieldName(m.GetName()) {
			return nil, p.to("name").errorf("%q is not the name of a header", m.GetName())
		}
		s.state = &sessionHeader{NewHeaderName(m.GetName())}
		return s, nil
	}
	return nil, p.errorf("%w: %s", ErrUnsupported, strings.TrimPrefix(config.GetTypeUrl(), "type.googleapis.com/"))
}
