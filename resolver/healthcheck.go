package resolver

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/balancer"
)

var (
	healthCheckFields = fieldNames("timeout", "interval", "initial_jitter", "interval_jitter", "interval_jitter_percent",
		"unhealthy_threshold", "healthy_threshold", "reuse_connection", "http_health_check", "tcp_health_check",
		"grpc_health_check", "custom_health_check", "no_traffic_interval", "no_traffic_healthy_interval",
		"unhealthy_interval", "unhealthy_edge_interval", "healthy_edge_interval", "tls_options",
		"transport_socket_match_criteria", "name")
	httpCheckFields = fieldNames("host", "path", "send", "receive", "response_buffer_size", "request_headers_to_add",
		"request_headers_to_remove", "expected_statuses", "retriable_statuses", "codec_client_type",
		"service_name_matcher", "method")
	grpcCheckFields = fieldNames("service_name", "authority", "initial_metadata")
	tcpCheckFields  = fieldNames("send", "receive")
)

const (
	defaultNoTrafficInterval  = time.Minute
	defaultResponseBufferSize = 1024
	maxResponseBufferSize     = 1 << 20
)

// healthChecks reads health_checks.
func (p *path) healthChecks(m *clusterv3.Cluster, c *balancer.Config) error {
	c.IgnoreUnchecked = m.GetCommonLbConfig().GetIgnoreNewHostsUntilFirstHc()
	for i, check := range m.GetHealthChecks() {
		h, err := p.at("health_checks", i).healthCheck(check)
		if err != nil {
			return err
		}
		if h != nil {
			c.HealthChecks = append(c.HealthChecks, *h)
		}
	}
	return nil
}

// healthCheck reads one check. It is nil if it is of a kind that is not made.
func (p *path) healthCheck(m *corev3.HealthCheck) (*balancer.HealthCheck, error) {
	p.warnUnread(m, healthCheckFields)
	r := limits{path: p}
	h := &balancer.HealthCheck{
		Timeout:               r.positive("timeout", m.GetTimeout(), 0),
		Interval:              r.positive("interval", m.GetInterval(), 0),
		InitialJitter:         r.duration("initial_jitter", m.GetInitialJitter(), 0),
		IntervalJitter:        r.duration("interval_jitter", m.GetIntervalJitter(), 0),
		IntervalJitterPercent: m.GetIntervalJitterPercent(),
		UnhealthyThreshold:    max(1, m.GetUnhealthyThreshold().GetValue()),
		HealthyThreshold:      max(1, m.GetHealthyThreshold().GetValue()),
		Reconnect:             m.GetReuseConnection() != nil && !m.GetReuseConnection().GetValue(),
		ALPN:                  m.GetTlsOptions().GetAlpnProtocols(),
	}
	h.NoTrafficInterval = r.positive("no_traffic_interval", m.GetNoTrafficInterval(), defaultNoTrafficInterval)
	h.NoTrafficHealthyInterval = r.positive("no_traffic_healthy_interval", m.GetNoTrafficHealthyInterval(), h.NoTrafficInterval)
	h.UnhealthyInterval = r.positive("unhealthy_interval", m.GetUnhealthyInterval(), h.Interval)
	h.UnhealthyEdgeInterval = r.positive("unhealthy_edge_interval", m.GetUnhealthyEdgeInterval(), h.UnhealthyInterval)
	h.HealthyEdgeInterval = r.positive("healthy_edge_interval", m.GetHealthyEdgeInterval(), h.Interval)
	switch {
	case r.err != nil:
		return nil, r.err
	case m.GetUnhealthyThreshold() == nil:
		return nil, p.to("unhealthy_threshold").errorf("is required")
	case m.GetHealthyThreshold() == nil:
		return nil, p.to("healthy_threshold").errorf("is required")
	}
	if criteria := m.GetTransportSocketMatchCriteria(); criteria != nil {
		h.SocketLabels = labels(criteria)
		if h.SocketLabels == nil {
			h.SocketLabels = map[string]string{}
		}
	}
	var err error
	switch {
	case m.GetHttpHealthCheck().GetCodecClientType() == typev3.CodecClientType_HTTP3:
		p.to("http_health_check").to("codec_client_type").warn()
		return nil, nil
	case m.GetHttpHealthCheck() != nil:
		h.HTTP, err = p.to("http_health_check").httpCheck(m.GetHttpHealthCheck())
	case m.GetGrpcHealthCheck() != nil:
		h.GRPC, err = p.to("grpc_health_check").grpcCheck(m.GetGrpcHealthCheck())
	case m.GetTcpHealthCheck() != nil:
		h.TCP, err = p.to("tcp_health_check").tcpCheck(m.GetTcpHealthCheck())
	case m.GetCustomHealthCheck() != nil:
		p.to("custom_health_check").warn()
		return nil, nil
	default:
		err = p.errorf("must say what to check")
	}
	return h, err
}

// positive is duration for what must be more than 0 and, if unset is 0, set.
func (r *limits) positive(field string, m *durationpb.Duration, unset time.Duration) time.Duration {
	d := r.duration(field, m, unset)
	if d == 0 {
		r.fail(r.path.to(field).errorf("must be more than 0"))
	}
	return d
}

func (p *path) httpCheck(m *corev3.HealthCheck_HttpHealthCheck) (*balancer.HTTPCheck, error) {
	p.warnUnread(m, httpCheckFields)
	h := &balancer.HTTPCheck{
		Host:           m.GetHost(),
		Path:           m.GetPath(),
		Method:         "GET",
		HTTP2:          m.GetCodecClientType() == typev3.CodecClientType_HTTP2,
		WithoutHeaders: m.GetRequestHeadersToRemove(),
		MaxBody:        defaultResponseBufferSize,
	}
	if size := m.GetResponseBufferSize(); size != nil {
		h.MaxBody = int64(min(cmp.Or(size.GetValue(), maxResponseBufferSize), maxResponseBufferSize))
	}
	if !strings.HasPrefix(h.Path, "/") || strings.ContainsFunc(h.Path, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, p.to("path").errorf("%q is not a path", h.Path)
	}
	if !validCheckHost(h.Host) {
		return nil, p.to("host").errorf("%q is not a host", h.Host)
	}
	switch method := m.GetMethod(); method {
	case corev3.RequestMethod_METHOD_UNSPECIFIED:
	case corev3.RequestMethod_CONNECT:
		return nil, p.to("method").errorf("CONNECT checks nothing")
	default:
		name, ok := corev3.RequestMethod_name[int32(method)]
		if !ok {
			return nil, p.to("method").errorf("unknown value %d", method)
		}
		h.Method = name
	}
	var err error
	if h.Headers, err = p.checkHeaders("request_headers_to_add", m.GetRequestHeadersToAdd()); err != nil {
		return nil, err
	}
	for i, name := range h.WithoutHeaders {
		if !validHeaderName(name) {
			return nil, p.at("request_headers_to_remove", i).errorf("%q is not the name of a header", name)
		}
	}
	if h.Expected, err = p.statuses("expected_statuses", m.GetExpectedStatuses()); err != nil {
		return nil, err
	}
	if len(h.Expected) == 0 {
		h.Expected = []balancer.StatusRange{{Start: 200, End: 201}}
	}
	if h.Retriable, err = p.statuses("retriable_statuses", m.GetRetriableStatuses()); err != nil {
		return nil, err
	}
	if h.Send, err = p.to("send").payload(m.GetSend()); err != nil {
		return nil, err
	}
	switch m.GetMethod() {
	case corev3.RequestMethod_METHOD_UNSPECIFIED, corev3.RequestMethod_GET, corev3.RequestMethod_HEAD,
		corev3.RequestMethod_DELETE, corev3.RequestMethod_TRACE:
		if m.GetSend() != nil {
			return nil, p.to("send").errorf("%s has no body", h.Method)
		}
	}
	if h.Receive, err = p.payloads("receive", m.GetReceive()); err != nil {
		return nil, err
	}
	if s := m.GetServiceNameMatcher(); s != nil {
		matcher, err := p.to("service_name_matcher").stringMatcher(s)
		if err != nil {
			return nil, err
		}
		h.Service = &matcher
	}
	return h, nil
}

// validCheckHost is for hosts that may be left out.
func validCheckHost(host string) bool { return host == "" || validHost(host) == nil }

func (p *path) statuses(field string, list []*typev3.Int64Range) (ranges []balancer.StatusRange, err error) {
	for i, r := range list {
		if r.GetStart() < 100 || r.GetEnd() > 600 || r.GetStart() >= r.GetEnd() {
			return nil, p.at(field, i).errorf("[%d, %d) is not a range of statuses within [100, 600)", r.GetStart(), r.GetEnd())
		}
		ranges = append(ranges, balancer.StatusRange{Start: int(r.GetStart()), End: int(r.GetEnd())})
	}
	return ranges, nil
}

// checkHeaders reads headers of probes. What would have to be told of a call is left
// out, with a warning.
func (p *path) checkHeaders(field string, list []*corev3.HeaderValueOption) (headers []balancer.CheckHeader, err error) {
	for i, option := range list {
		q := p.at(field, i).to("header")
		h := option.GetHeader()
		value := cmp.Or(h.GetValue(), string(h.GetRawValue()))
		switch {
		case !validHeaderName(h.GetKey()):
			return nil, q.to("key").errorf("%q is not the name of a header", h.GetKey())
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return nil, q.to("value").errorf("holds a control character")
		case strings.EqualFold(h.GetKey(), "host") && !validCheckHost(value):
			return nil, q.to("value").errorf("%q is not a host", value)
		}
		value = strings.ReplaceAll(value, "%%", "\x00")
		if strings.Contains(value, "%") {
			q.to("value").warn()
			continue
		}
		headers = append(headers, balancer.CheckHeader{
			Name:  h.GetKey(),
			Value: strings.ReplaceAll(value, "\x00", "%"),
			Append: option.GetAppendAction() == corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD &&
				(option.GetAppend() == nil || option.GetAppend().GetValue()),
		})
	}
	return headers, nil
}

func (p *path) grpcCheck(m *corev3.HealthCheck_GrpcHealthCheck) (*balancer.GRPCCheck, error) {
	p.warnUnread(m, grpcCheckFields)
	if !validCheckHost(m.GetAuthority()) {
		return nil, p.to("authority").errorf("%q is not a host", m.GetAuthority())
	}
	md, err := p.checkHeaders("initial_metadata", m.GetInitialMetadata())
	if err != nil {
		return nil, err
	}
	return &balancer.GRPCCheck{Service: m.GetServiceName(), Authority: m.GetAuthority(), Metadata: md}, nil
}

func (p *path) tcpCheck(m *corev3.HealthCheck_TcpHealthCheck) (c *balancer.TCPCheck, err error) {
	p.warnUnread(m, tcpCheckFields)
	c = &balancer.TCPCheck{}
	if c.Send, err = p.to("send").payload(m.GetSend()); err != nil {
		return nil, err
	}
	c.Receive, err = p.payloads("receive", m.GetReceive())
	return c, err
}

func (p *path) payloads(field string, list []*corev3.HealthCheck_Payload) (payloads [][]byte, err error) {
	for i, m := range list {
		payload, err := p.at(field, i).payload(m)
		if err != nil {
			return nil, err
		}
		payloads = append(payloads, payload)
	}
	return payloads, nil
}

// payload reads bytes, which as text are hexadecimal.
func (p *path) payload(m *corev3.HealthCheck_Payload) ([]byte, error) {
	if m == nil {
		return nil, nil
	}
	if binary := m.GetBinary(); len(binary) > 0 {
		return binary, nil
	}
	b, err := hex.DecodeString(m.GetText())
	if err != nil {
		return nil, p.to("text").errorf("%w", err)
	}
	if len(b) == 0 {
		return nil, p.errorf("must not be empty")
	}
	return b, nil
}

// endpointCheck reads how an endpoint is checked.
func endpointCheck(m *endpointv3.Endpoint_HealthCheckConfig) (c balancer.EndpointCheck, err error) {
	if m == nil {
		return c, nil
	}
	c.Hostname, c.Disabled = m.GetHostname(), m.GetDisableActiveHealthCheck()
	if !validCheckHost(c.Hostname) {
		return c, fmt.Errorf("hostname: %q is not a host", c.Hostname)
	}
	port := m.GetPortValue()
	if a := m.GetAddress().GetSocketAddress(); a != nil {
		if _, err := netip.ParseAddr(a.GetAddress()); err != nil {
			return c, fmt.Errorf("address.socket_address.address: %w", err)
		}
		c.Host = a.GetAddress()
		port = cmp.Or(port, a.GetPortValue())
	} else if m.GetAddress() != nil {
		return c, fmt.Errorf("address: %w: not a socket_address", ErrUnsupported)
	}
	if port > math.MaxUint16 {
		return c, fmt.Errorf("port_value: %d is not a port", port)
	}
	if port > 0 {
		c.Port = strconv.Itoa(int(port))
	}
	return c, nil
}
