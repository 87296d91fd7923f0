package resolver

import (
	"errors"
	"strconv"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
)

// listener is a compiled Listener. It is immutable.
type listener struct {
	name string
	// api says that calls can be made by it. Others are for servers, or for proxies.
	api bool
	// unserved is why a server cannot go by it; nil if it can.
	unserved error

	// inline, or else the name of the route configuration.
	inline          *routeConfig
	routeConfigName string

	hosting           hosting
	maxStreamDuration time.Duration // zero is unset
	streamIdleTimeout time.Duration // zero is unset
	filters           []httpFilter
	keepsNoOriginals  bool // of what rewrites replace (Router.suppress_envoy_headers)
}

func decodeListener(c TypesConfig, raw []byte) (string, any, error) {
	var l listenerv3.Listener
	if err := proto.Unmarshal(raw, &l); err != nil {
		return "", nil, err
	}
	d := &decoder{config: c, kind: "Listener", name: l.GetName()}
	v, err := d.root().listener(&l)
	if err != nil {
		return l.GetName(), nil, err
	}
	return l.GetName(), v, nil
}

// An API listener has no socket, so that most of a listener's fields are about
// nothing.
var listenerFields = fieldNames("name", "address", "stat_prefix", "metadata", "api_listener", "traffic_direction",
	"filter_chains", "default_filter_chain", "bind_to_port", "listener_filters")

func (p *path) listener(l *listenerv3.Listener) (*listener, error) {
	v := &listener{name: l.GetName()}
	api := l.GetApiListener().GetApiListener()
	switch {
	case api == nil && p.decoder.config.Servers:
		return v, p.serverListener(l, v)
	case api == nil:
		v.unserved = errors.New("this process is not one that serves")
		return v, nil
	}
	v.unserved = errors.New("it is an API listener, which is for clients")
	q := p.to("api_listener").to("api_listener")
	var hcm hcmv3.HttpConnectionManager
	if !api.MessageIs(&hcm) {
		return nil, q.errorf("%w: %s", ErrUnsupported, api.GetTypeUrl())
	}
	if err := api.UnmarshalTo(&hcm); err != nil {
		return nil, q.errorf("%w", err)
	}
	v.api = true
	p.warnUnread(l, listenerFields)
	if err := q.connectionManager(&hcm, v); err != nil {
		return nil, err
	}
	v.stripPort(&hcm, l)
	return v, nil
}

func (v *listener) stripPort(hcm *hcmv3.HttpConnectionManager, l *listenerv3.Listener) {
	if port := l.GetAddress().GetSocketAddress().GetPortValue(); hcm.GetStripMatchingHostPort() && port != 0 {
		v.hosting.stripPortOf = strconv.Itoa(int(port))
	}
}

// What concerns the side that a proxy listens on has no meaning for a client in the
// process.
var hcmFields = fieldNames("stat_prefix", "rds", "route_config", "http_filters", "common_http_protocol_options",
	"strip_matching_host_port", "strip_any_host_port", "strip_trailing_host_dot", "codec_type", "server_name",
	"use_remote_address", "xff_num_trusted_hops", "skip_xff_append", "generate_request_id",
	"forward_client_cert_details", "drain_timeout", "normalize_path", "merge_slashes", "stream_idle_timeout")

func (p *path) connectionManager(hcm *hcmv3.HttpConnectionManager, v *listener) error {
	switch s := hcm.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_RouteConfig:
		rc, err := p.to("route_config").routeConfig(s.RouteConfig)
		if err != nil {
			return err
		}
		v.inline = rc
	case *hcmv3.HttpConnectionManager_Rds:
		if v.routeConfigName = s.Rds.GetRouteConfigName(); v.routeConfigName == "" {
			return p.to("rds").to("route_config_name").errorf("must not be empty")
		}
	case *hcmv3.HttpConnectionManager_ScopedRoutes:
		return p.to("scoped_routes").errorf("%w", ErrUnsupported)
	default:
		return p.errorf("must have route_config or rds")
	}
	options := p.to("common_http_protocol_options")
	d, err := options.duration("max_stream_duration", hcm.GetCommonHttpProtocolOptions().GetMaxStreamDuration())
	if err != nil {
		return err
	}
	v.maxStreamDuration = d.d
	if d, err = p.duration("stream_idle_timeout", hcm.GetStreamIdleTimeout()); err != nil {
		return err
	}
	v.streamIdleTimeout = d.d
	if hcm.GetCommonHttpProtocolOptions() != nil && !p.decoder.server {
		options.warnUnread(hcm.GetCommonHttpProtocolOptions(), fieldNames("max_stream_duration"))
	}
	v.hosting.stripPort = hcm.GetStripAnyHostPort()
	v.hosting.stripLastDot = hcm.GetStripTrailingHostDot()
	if v.filters, err = p.filters(hcm.GetHttpFilters(), v); err != nil {
		return err
	}
	if p.decoder.server {
		return p.serverConnectionManager(hcm)
	}
	p.warnUnread(hcm, hcmFields)
	return nil
}
