package resolver

import (
	"net"
	"net/netip"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/balancer"
)

var (
	breakerFields    = fieldNames("thresholds", "per_host_thresholds")
	perHostFields    = fieldNames("priority", "max_connections")
	upstreamFields   = fieldNames("tcp_keepalive", "happy_eyeballs_config")
	bindFields       = fieldNames("source_address", "extra_source_addresses", "additional_source_addresses")
	extraSourceField = fieldNames("address")
)

// connection reads how connections are made, but for what is in the HTTP options.
func (p *path) connection(m *clusterv3.Cluster, c *balancer.Config) error {
	to := &c.Connection
	if err := p.perHost(m.GetCircuitBreakers(), to); err != nil {
		return err
	}
	if o := m.GetUpstreamConnectionOptions(); o != nil {
		q := p.to("upstream_connection_options")
		q.warnUnread(o, upstreamFields)
		tcpKeepalive(o.GetTcpKeepalive(), to)
		if err := q.to("happy_eyeballs_config").happyEyeballs(o.GetHappyEyeballsConfig(), to); err != nil {
			return err
		}
	}
	return p.to("upstream_bind_config").bind(m.GetUpstreamBindConfig(), to)
}

// perHost reads the bound of connections to one endpoint (gRFC A105): that of the
// first thresholds for calls of default priority.
func (p *path) perHost(m *clusterv3.CircuitBreakers, to *balancer.Connection) error {
	if m == nil {
		return nil
	}
	p = p.to("circuit_breakers")
	p.warnUnread(m, breakerFields)
	for i, t := range m.GetPerHostThresholds() {
		q := p.at("per_host_thresholds", i)
		if t.GetPriority() != corev3.RoutingPriority_DEFAULT {
			q.to("priority").warn()
			continue
		}
		q.warnUnread(t, perHostFields)
		n := t.GetMaxConnections()
		if n != nil && n.GetValue() == 0 {
			return q.to("max_connections").errorf("must not be 0")
		}
		to.MaxPerEndpoint = n.GetValue()
		break
	}
	return nil
}

func tcpKeepalive(m *corev3.TcpKeepalive, to *balancer.Connection) {
	if m == nil {
		return
	}
	to.HasKeepAlive = true
	to.KeepAlive = net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1}
	for _, f := range []struct {
		m   *wrapperspb.UInt32Value
		set func(uint32)
	}{
		{m.GetKeepaliveProbes(), func(n uint32) { to.KeepAlive.Count = int(n) }},
		{m.GetKeepaliveTime(), func(n uint32) { to.KeepAlive.Idle = time.Duration(n) * time.Second }},
		{m.GetKeepaliveInterval(), func(n uint32) { to.KeepAlive.Interval = time.Duration(n) * time.Second }},
	} {
		switch {
		case f.m == nil: // the system's
		case f.m.GetValue() == 0:
			to.KeepAlive = net.KeepAliveConfig{}
			return
		default:
			f.set(f.m.GetValue())
		}
	}
}

func (p *path) happyEyeballs(m *clusterv3.UpstreamConnectionOptions_HappyEyeballsConfig, to *balancer.Connection) error {
	switch v := m.GetFirstAddressFamilyVersion(); v {
	case clusterv3.UpstreamConnectionOptions_DEFAULT:
	case clusterv3.UpstreamConnectionOptions_V4:
		to.FirstFamily = balancer.IPv4
	case clusterv3.UpstreamConnectionOptions_V6:
		to.FirstFamily = balancer.IPv6
	default:
		return p.to("first_address_family_version").errorf("unknown value %d", v)
	}
	n := m.GetFirstAddressFamilyCount()
	if n != nil && n.GetValue() == 0 {
		return p.to("first_address_family_count").errorf("must not be 0")
	}
	to.FirstFamilyCount = n.GetValue()
	return nil
}

// bind reads the local addresses, one for each family: of several the first.
func (p *path) bind(m *corev3.BindConfig, to *balancer.Connection) error {
	if m == nil {
		return nil
	}
	p.warnUnread(m, bindFields)
	if m.GetSourceAddress() != nil {
		if err := p.to("source_address").source(m.GetSourceAddress(), to); err != nil {
			return err
		}
	}
	for i, extra := range m.GetExtraSourceAddresses() {
		q := p.at("extra_source_addresses", i)
		q.warnUnread(extra, extraSourceField)
		if err := q.to("address").source(extra.GetAddress(), to); err != nil {
			return err
		}
	}
	for i, extra := range m.GetAdditionalSourceAddresses() {
		if err := p.at("additional_source_addresses", i).source(extra, to); err != nil {
			return err
		}
	}
	return nil
}

func (p *path) source(m *corev3.SocketAddress, to *balancer.Connection) error {
	ip, err := netip.ParseAddr(m.GetAddress())
	if err != nil {
		return p.to("address").errorf("%q is not an IP address", m.GetAddress())
	}
	if m.GetPortValue() > 65535 || m.GetNamedPort() != "" {
		return p.to("port_value").errorf("must be 0 to 65535, and no named_port")
	}
	source := ipPort(ip, m.GetAddress(), m.GetPortValue())
	switch {
	case ip.Is4() && to.Source4 == "":
		to.Source4 = source
	case ip.Is6() && to.Source6 == "":
		to.Source6 = source
	default:
		p.warn()
	}
	return nil
}
