package resolver

import (
	"cmp"
	"math"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/weft-mesh/weft/balancer"
)

// originalDstHeader is Envoy's header for the address of a call, where policy has
// calls say it and gives no other name.
const originalDstHeader = "x-envoy-original-dst-host"

var originalDstFields = fieldNames("use_http_header", "http_header_name", "upstream_port_override")

// originalDst reads a cluster of type ORIGINAL_DST: its calls go to the address that
// the caller named. To a proxy that is the address a connection was redirected from;
// a client in the process was told it.
func (p *path) originalDst(m *clusterv3.Cluster, c *balancer.Config) error {
	c.Discovery, c.OriginalDst = balancer.DiscoverOriginalDst, &balancer.OriginalDst{}
	o := m.GetOriginalDstLbConfig()
	if o == nil {
		return nil
	}
	q := p.to("original_dst_lb_config")
	q.warnUnread(o, originalDstFields)
	if o.GetUseHttpHeader() {
		c.OriginalDst.Header = strings.ToLower(cmp.Or(o.GetHttpHeaderName(), originalDstHeader))
	}
	port := o.GetUpstreamPortOverride().GetValue()
	if port > math.MaxUint16 {
		return q.to("upstream_port_override").errorf("%d is not a port", port)
	}
	c.OriginalDst.Port = uint16(port)
	return nil
}
