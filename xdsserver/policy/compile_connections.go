package policy

import (
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

// setConnections says how connections are made, after the limits and with the protocol
// options, which have a part of it.
func setConnections(cluster *clusterv3.Cluster, options *upstreamv3.HttpProtocolOptions, c *Connections) {
	if c == nil {
		return
	}
	if c.MaxConnections != nil {
		if cluster.CircuitBreakers == nil {
			cluster.CircuitBreakers = &clusterv3.CircuitBreakers{}
		}
		cluster.CircuitBreakers.PerHostThresholds = []*clusterv3.CircuitBreakers_Thresholds{{MaxConnections: optionalUint32(c.MaxConnections)}}
	}
	if k := c.TCPKeepalive; k != nil {
		cluster.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveProbes:   optionalUint32(k.KeepaliveProbes),
			KeepaliveTime:     optionalSeconds(k.KeepaliveTime),
			KeepaliveInterval: optionalSeconds(k.KeepaliveInterval),
		}}
	}
	if c.SourceAddress != "" {
		cluster.UpstreamBindConfig = &corev3.BindConfig{SourceAddress: &corev3.SocketAddress{
			Address:       c.SourceAddress,
			PortSpecifier: &corev3.SocketAddress_PortValue{}, // any
		}}
	}
	if c.MaxRequestsPerConnection != nil || c.MaxConnectionDuration != nil || c.IdleTimeout != nil || c.MaxResponseHeadersKb != nil {
		options.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{
			IdleTimeout:              optionalDuration(c.IdleTimeout),
			MaxConnectionDuration:    optionalDuration(c.MaxConnectionDuration),
			MaxRequestsPerConnection: optionalUint32(c.MaxRequestsPerConnection),
			MaxResponseHeadersKb:     optionalUint32(c.MaxResponseHeadersKb),
		}
	}
	if http2 := options.GetExplicitHttpConfig().GetHttp2ProtocolOptions(); http2 != nil {
		http2.MaxConcurrentStreams = optionalUint32(c.MaxConcurrentStreams)
		if k := c.ConnectionKeepalive; k != nil {
			http2.ConnectionKeepalive = &corev3.KeepaliveSettings{
				Interval: optionalDuration(k.Interval),
				Timeout:  optionalDuration(k.Timeout),
			}
		}
	}
}

func optionalSeconds(d *time.Duration) *wrapperspb.UInt32Value {
	if d == nil {
		return nil
	}
	return wrapperspb.UInt32(uint32(*d / time.Second))
}
