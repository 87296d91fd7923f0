package resolver

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/weft-mesh/weft/balancer"
)

const httpOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// clusterProtocol reads what HTTP clients speak to the cluster
// (envoy.extensions.upstreams.http.v3.HttpProtocolOptions, and the fields that it
// replaced). Envoy's default is HTTP/1.1.
func (p *path) clusterProtocol(m *clusterv3.Cluster, c *balancer.Config) error {
	if m.GetHttp2ProtocolOptions() != nil {
		c.Protocol = balancer.ProtocolHTTP2
	}
	for key, config := range m.GetTypedExtensionProtocolOptions() {
		q := p.to("typed_extension_protocol_options[" + key + "]")
		if key != httpOptionsKey {
			q.warn()
			continue
		}
		var options httpv3.HttpProtocolOptions
		if err := config.UnmarshalTo(&options); err != nil {
			return q.errorf("%w", err)
		}
		if err := q.httpOptions(&options, c); err != nil {
			return err
		}
	}
	return nil
}

var (
	httpOptionsFields  = fieldNames("explicit_http_config", "use_downstream_protocol_config", "auto_config")
	explicitHTTPFields = fieldNames("http_protocol_options", "http2_protocol_options")
)

func (p *path) httpOptions(o *httpv3.HttpProtocolOptions, c *balancer.Config) error {
	p.warnUnread(o, httpOptionsFields)
	switch {
	case o.GetAutoConfig() != nil, o.GetUseDownstreamProtocolConfig() != nil:
		// The protocol that the application speaks, or that TLS settles on.
		c.Protocol = balancer.ProtocolAuto
	case o.GetExplicitHttpConfig() != nil:
		explicit := o.GetExplicitHttpConfig()
		p.to("explicit_http_config").warnUnread(explicit, explicitHTTPFields)
		switch {
		case explicit.GetHttpProtocolOptions() != nil:
			c.Protocol = balancer.ProtocolHTTP1
		case explicit.GetHttp2ProtocolOptions() != nil:
			c.Protocol = balancer.ProtocolHTTP2
		default:
			return p.to("explicit_http_config").errorf("%w: neither HTTP/1.1 nor HTTP/2", ErrUnsupported)
		}
	default:
		return p.errorf("must have explicit_http_config, use_downstream_protocol_config or auto_config")
	}
	return nil
}
