package resolver

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
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
	if m.GetTypedExtensionProtocolOptions()[httpOptionsKey] == nil {
		if err := p.legacyHTTP(m, c); err != nil {
			return err
		}
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
	httpOptionsFields  = fieldNames("common_http_protocol_options", "explicit_http_config", "use_downstream_protocol_config", "auto_config")
	explicitHTTPFields = fieldNames("http_protocol_options", "http2_protocol_options")
)

// httpVersions are the options of each version of HTTP, however they stand.
type httpVersions interface {
	GetHttpProtocolOptions() *corev3.Http1ProtocolOptions
	GetHttp2ProtocolOptions() *corev3.Http2ProtocolOptions
}

func (p *path) httpOptions(o *httpv3.HttpProtocolOptions, c *balancer.Config) error {
	p.warnUnread(o, httpOptionsFields)
	if err := p.to("common_http_protocol_options").commonHTTP(o.GetCommonHttpProtocolOptions(), &c.Connection); err != nil {
		return err
	}
	var versions httpVersions
	switch {
	case o.GetAutoConfig() != nil:
		// The protocol that TLS settles on.
		c.Protocol = balancer.ProtocolAuto
		p, versions = p.to("auto_config"), o.GetAutoConfig()
		p.warnUnread(o.GetAutoConfig(), explicitHTTPFields)
	case o.GetUseDownstreamProtocolConfig() != nil:
		// The protocol that the application speaks, which http.Client does not say.
		c.Protocol = balancer.ProtocolHTTP1
		p, versions = p.to("use_downstream_protocol_config"), o.GetUseDownstreamProtocolConfig()
		p.warnUnread(o.GetUseDownstreamProtocolConfig(), explicitHTTPFields)
	case o.GetExplicitHttpConfig() != nil:
		p, versions = p.to("explicit_http_config"), o.GetExplicitHttpConfig()
		p.warnUnread(o.GetExplicitHttpConfig(), explicitHTTPFields)
		switch {
		case versions.GetHttpProtocolOptions() != nil:
			c.Protocol = balancer.ProtocolHTTP1
		case versions.GetHttp2ProtocolOptions() != nil:
			c.Protocol = balancer.ProtocolHTTP2
		default:
			return p.errorf("%w: neither HTTP/1.1 nor HTTP/2", ErrUnsupported)
		}
	default:
		return p.errorf("must have explicit_http_config, use_downstream_protocol_config or auto_config")
	}
	if m := versions.GetHttpProtocolOptions(); m != nil {
		p.to("http_protocol_options").warnUnread(m, http1Fields)
	}
	return p.to("http2_protocol_options").http2(versions.GetHttp2ProtocolOptions(), &c.Connection)
}
