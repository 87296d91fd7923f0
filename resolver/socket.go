package resolver

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/http_11_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/security"
)

const (
	socketTypes  = "type.googleapis.com/envoy.extensions.transport_sockets."
	rawBufferURL = socketTypes + "raw_buffer.v3.RawBuffer"
	tlsURL       = socketTypes + "tls.v3.UpstreamTlsContext"

	httpProxyURL = socketTypes + "http_11_proxy.v3.Http11ProxyUpstreamTransport"

	rawBufferName = "envoy.transport_sockets.raw_buffer"
)

// clusterSockets reads how connections are secured. The origins tell for each
// socket what it was made from.
func (p *path) clusterSockets(m *clusterv3.Cluster) (sockets []balancer.Socket, origins []string, err error) {
	for i, match := range m.GetTransportSocketMatches() {
		q := p.at("transport_socket_matches", i)
		s := balancer.Socket{Name: match.GetName(), Match: labels(match.GetMatch())}
		if err := q.to("transport_socket").socket(match.GetTransportSocket(), &s); err != nil {
			return nil, nil, err
		}
		sockets = append(sockets, s)
		origins = append(origins, origin(match.GetTransportSocket()))
	}
	if m.GetTransportSocket() != nil {
		s := balancer.Socket{Name: m.GetTransportSocket().GetName()}
		if err := p.to("transport_socket").socket(m.GetTransportSocket(), &s); err != nil {
			return nil, nil, err
		}
		sockets = append(sockets, s)
		origins = append(origins, origin(m.GetTransportSocket()))
	}
	return sockets, origins, nil
}

func origin(t *corev3.TransportSocket) string {
	return t.GetTypedConfig().GetTypeUrl() + "\x00" + string(t.GetTypedConfig().GetValue())
}

// keepSockets returns the cluster with the TLS of prev where policy asks for the
// same in both: connections live as long as the *security.ClientTLS that made them.
func (c *cluster) keepSockets(prev *cluster) *cluster {
	if prev == nil || prev.config == nil || c.config == nil {
		return c
	}
	kept := make(map[string]*security.ClientTLS)
	for i, s := range prev.config.Sockets {
		if s.TLS != nil {
			kept[prev.sockets[i]] = s.TLS
		}
	}
	if len(kept) == 0 {
		return c
	}
	config := *c.config
	config.Sockets = make([]balancer.Socket, len(c.config.Sockets))
	for i, s := range c.config.Sockets {
		if tls := kept[c.sockets[i]]; tls != nil && s.TLS != nil {
			s.TLS = tls
		}
		config.Sockets[i] = s
	}
	return &cluster{name: c.name, config: &config, sockets: c.sockets}
}

// socket reads one transport socket. What is asked of security and cannot be had
// makes its connections fail; it is an error only if it cannot be read.
func (p *path) socket(t *corev3.TransportSocket, to *balancer.Socket) error {
	config := t.GetTypedConfig()
	switch {
	case config.GetTypeUrl() == tlsURL:
		var m tlsv3.UpstreamTlsContext
		if err := config.UnmarshalTo(&m); err != nil {
			return p.to("typed_config").errorf("%w", err)
		}
		to.TLS, to.Err = p.to("typed_config").clientTLS(&m)
	case config.GetTypeUrl() == httpProxyURL:
		return p.proxySocket(config, to)
	case config.GetTypeUrl() == rawBufferURL, config == nil && t.GetName() == rawBufferName:
		return nil
	case t == nil:
		return p.errorf("is required")
	default:
		to.Err = p.errorf("transport socket %q of type %q: %w", t.GetName(), configType(config), ErrUnsupported)
	}
	if to.Err != nil {
		to.Err = fmt.Errorf("cluster %q: %w", p.decoder.name, to.Err)
		p.warnFails()
	}
	return nil
}

// proxySocket reads a socket that goes through HTTP proxies (gRFC A86).
func (p *path) proxySocket(config *anypb.Any, to *balancer.Socket) error {
	var m proxyv3.Http11ProxyUpstreamTransport
	p = p.to("typed_config")
	if err := config.UnmarshalTo(&m); err != nil {
		return p.errorf("%w", err)
	}
	if to.Proxied {
		return p.errorf("a proxy behind a proxy: %w", ErrUnsupported)
	}
	to.Proxied = true
	if m.GetDefaultProxyAddress() != nil {
		var err error
		if to.DefaultProxy, err = address(m.GetDefaultProxyAddress(), true); err != nil {
			return p.to("default_proxy_address").errorf("%w", err)
		}
	}
	if m.GetTransportSocket() == nil {
		return nil
	}
	return p.to("transport_socket").socket(m.GetTransportSocket(), to)
}
