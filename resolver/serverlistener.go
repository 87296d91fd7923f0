package resolver

import (
	"errors"
	"fmt"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
)

var (
	serverListenerFields = fieldNames("name", "address", "stat_prefix", "metadata", "traffic_direction", "filter_chains",
		"default_filter_chain", "bind_to_port", "listener_filters", "use_original_dst")
	filterChainFields = fieldNames("name", "filter_chain_match", "filters", "transport_socket", "metadata")
	serverHCMFields   = fieldNames("stat_prefix", "rds", "route_config", "http_filters", "strip_matching_host_port",
		"strip_any_host_port", "strip_trailing_host_dot", "codec_type", "server_name", "generate_request_id", "drain_timeout")
)

// serverListener reads the listener of a server (gRFC A36) into v. What is wrong in a
// filter chain refuses the resource; what a chain asks of connections, which are not
// looked at, makes the listener one that is not served.
func (p *path) serverListener(l *listenerv3.Listener, v *listener) error {
	p.decoder.server = true
	chains := l.GetFilterChains()
	if len(chains) == 0 && l.GetDefaultFilterChain() == nil {
		v.unserved = errors.New("it has no filter chain")
		return nil
	}
	if !forHTTP(l) {
		v.unserved = fmt.Errorf("%w: it is a proxy's, without an http_connection_manager", ErrUnsupported)
		return nil
	}
	if len(l.GetListenerFilters()) > 0 {
		return p.to("listener_filters").errorf("%w on servers", ErrUnsupported)
	}
	if l.GetUseOriginalDst().GetValue() {
		return p.to("use_original_dst").errorf("%w on servers", ErrUnsupported)
	}
	p.warnUnread(l, serverListenerFields)
	served := 0
	for i, c := range chains {
		q := p.at("filter_chains", i)
		if err := q.serverChain(l, c, v, &served); err != nil {
			return err
		}
		if m := c.GetFilterChainMatch(); m != nil && proto.Size(m) > 0 {
			v.unserved = q.to("filter_chain_match").errorf("%w", ErrUnsupported)
		}
	}
	if served > 1 && v.unserved == nil {
		v.unserved = p.to("filter_chains").errorf("%w: several without a match", ErrUnsupported)
	}
	if c := l.GetDefaultFilterChain(); c != nil {
		if err := p.to("default_filter_chain").serverChain(l, c, v, &served); err != nil {
			return err
		}
	}
	return nil
}

// forHTTP reports whether a listener has anything to do with HTTP.
func forHTTP(l *listenerv3.Listener) bool {
	for _, c := range append(l.GetFilterChains()[:len(l.GetFilterChains()):len(l.GetFilterChains())], l.GetDefaultFilterChain()) {
		for _, f := range c.GetFilters() {
			if f.GetTypedConfig().MessageIs((*hcmv3.HttpConnectionManager)(nil)) {
				return true
			}
		}
	}
	return false
}

// serverChain reads a filter chain. The first one is the listener's: where there are
// several, a match decides, and none is served.
func (p *path) serverChain(l *listenerv3.Listener, c *listenerv3.FilterChain, v *listener, served *int) error {
	p.warnUnread(c, filterChainFields)
	filters := c.GetFilters()
	if len(filters) != 1 {
		return p.to("filters").errorf("must have one entry, the http_connection_manager, and has %d", len(filters))
	}
	q := p.at("filters", 0).to("typed_config")
	var hcm hcmv3.HttpConnectionManager
	if !filters[0].GetTypedConfig().MessageIs(&hcm) {
		return q.errorf("%w on servers: %s", ErrUnsupported, filters[0].GetTypedConfig().GetTypeUrl())
	}
	if err := filters[0].GetTypedConfig().UnmarshalTo(&hcm); err != nil {
		return q.errorf("%w", err)
	}
	read := &listener{name: l.GetName()}
	if err := q.connectionManager(&hcm, read); err != nil {
		return err
	}
	// Connections are made before policy is asked: served in plaintext, they would
	// have none of what the chain wants of them.
	if c.GetTransportSocket() != nil && v.unserved == nil {
		v.unserved = p.to("transport_socket").errorf("%w", ErrUnsupported)
	}
	if *served++; *served == 1 {
		read.stripPort(&hcm, l)
		read.api, read.unserved = v.api, v.unserved
		*v = *read
	}
	return nil
}

// serverConnectionManager checks what is a server's alone. What is said of the caller's
// address decides on who is let in, so that it must not be ignored (gRFC A41).
func (p *path) serverConnectionManager(hcm *hcmv3.HttpConnectionManager) error {
	if hcm.GetXffNumTrustedHops() != 0 {
		return p.to("xff_num_trusted_hops").errorf("%w on servers", ErrUnsupported)
	}
	if len(hcm.GetOriginalIpDetectionExtensions()) > 0 {
		return p.to("original_ip_detection_extensions").errorf("%w on servers", ErrUnsupported)
	}
	p.warnUnread(hcm, serverHCMFields)
	return nil
}
