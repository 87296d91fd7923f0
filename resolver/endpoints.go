package resolver

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weft-mesh/weft/balancer"
)

func (memory *assignmentMemory) decode(c TypesConfig, raw []byte) (string, any, error) {
	d := &decoder{config: c, kind: "ClusterLoadAssignment"}
	if name, a, ok := d.scanAssignment(raw, memory); ok {
		return name, a, nil
	}
	var m endpointv3.ClusterLoadAssignment
	if err := proto.Unmarshal(raw, &m); err != nil {
		return "", nil, err
	}
	d.name = m.GetClusterName()
	v, err := d.root().assignment(&m, false)
	if err != nil {
		return m.GetClusterName(), nil, err
	}
	return m.GetClusterName(), v, nil
}

// maxPriority is the field's own bound (envoy LocalityLbEndpoints.priority).
const maxPriority = 127

var (
	assignmentFields = fieldNames("cluster_name", "endpoints", "policy")
	assignPolicy     = fieldNames("drop_overloads", "overprovisioning_factor")
)

// assignment compiles a ClusterLoadAssignment. names says that addresses may be host
// names.
func (p *path) assignment(m *endpointv3.ClusterLoadAssignment, names bool) (*balancer.Assignment, error) {
	a := &balancer.Assignment{}
	if m == nil {
		return a, nil
	}
	p.warnUnread(m, assignmentFields)
	if err := p.to("policy").assignmentPolicy(m.GetPolicy(), a); err != nil {
		return nil, err
	}
	a.Localities = slices.Grow(a.Localities, len(m.GetEndpoints()))
	for i, l := range m.GetEndpoints() {
		le, err := p.at("endpoints", i).locality(l, names)
		if err != nil {
			return nil, err
		}
		a.Localities = append(a.Localities, le)
	}
	return a, p.checkAssignment(a)
}

// checkAssignment refuses what gRFC A27 refuses: the same locality twice in a
// priority, priorities with gaps, sums of weights that overflow.
func (p *path) checkAssignment(a *balancer.Assignment) error {
	type place struct {
		locality balancer.Locality
		priority uint32
	}
	seen := make(map[place]bool, len(a.Localities))
	weights := make(map[uint32]uint64) // by priority
	for i := range a.Localities {
		l, q := &a.Localities[i], p.at("endpoints", i)
		if l.Priority > maxPriority {
			return q.to("priority").errorf("%d is more than %d", l.Priority, maxPriority)
		}
		at := place{l.Locality, l.Priority}
		if seen[at] {
			return q.to("locality").errorf("%s stands twice in priority %d", formatLocality(l.Locality), l.Priority)
		}
		seen[at] = true
		weights[l.Priority] += uint64(l.Weight)
		if weights[l.Priority] > math.MaxUint32 {
			return q.to("load_balancing_weight").errorf("the weights of priority %d add up to more than %d", l.Priority, uint32(math.MaxUint32))
		}
		var total uint64
		for j := range l.Endpoints {
			total += uint64(max(l.Endpoints[j].Weight, 1))
		}
		if total > math.MaxUint32 {
			return q.errorf("the weights of the endpoints add up to more than %d", uint32(math.MaxUint32))
		}
	}
	for priority := range uint32(len(weights)) {
		if _, ok := weights[priority]; !ok {
			return p.to("endpoints").errorf("there is no priority %d but a higher one", priority)
		}
	}
	return nil
}

func formatLocality(l balancer.Locality) string {
	return fmt.Sprintf("{region %q, zone %q, sub_zone %q}", l.Region, l.Zone, l.SubZone)
}

func (p *path) assignmentPolicy(m *endpointv3.ClusterLoadAssignment_Policy, a *balancer.Assignment) error {
	if m == nil {
		return nil
	}
	p.warnUnread(m, assignPolicy)
	if f := m.GetOverprovisioningFactor(); f != nil {
		if f.GetValue() == 0 {
			return p.to("overprovisioning_factor").errorf("must not be 0")
		}
		a.Overprovisioning = f.GetValue()
	}
	for i, d := range m.GetDropOverloads() {
		q := p.at("drop_overloads", i)
		if d.GetCategory() == "" {
			return q.to("category").errorf("must not be empty")
		}
		share, err := q.to("drop_percentage").perMillion(d.GetDropPercentage())
		if err != nil {
			return err
		}
		a.Drops = append(a.Drops, balancer.Drop{Category: d.GetCategory(), PerMillion: share})
	}
	return nil
}

func (p *path) perMillion(m *typev3.FractionalPercent) (uint32, error) {
	f, err := p.fraction(m)
	if err != nil {
		return 0, err
	}
	return uint32(min(uint64(f.numerator)*(1_000_000/uint64(f.denominator)), 1_000_000)), nil
}

func (p *path) locality(l *endpointv3.LocalityLbEndpoints, names bool) (balancer.LocalityEndpoints, error) {
	le := balancer.LocalityEndpoints{
		Locality: balancer.Locality{
			Region:  l.GetLocality().GetRegion(),
			Zone:    l.GetLocality().GetZone(),
			SubZone: l.GetLocality().GetSubZone(),
		},
		Weight:    l.GetLoadBalancingWeight().GetValue(),
		Priority:  l.GetPriority(),
		Endpoints: make([]balancer.EndpointConfig, len(l.GetLbEndpoints())),
	}
	if l.GetLbConfig() != nil {
		return le, p.errorf("%w: endpoints other than lb_endpoints", ErrUnsupported)
	}
	proxy, err := metadataProxy(l.GetMetadata())
	if err != nil {
		return le, p.errorf("%w", err)
	}
	reader := endpointReader{names: names, proxy: proxy}
	for i, e := range l.GetLbEndpoints() {
		if err := reader.read(e, &le.Endpoints[i]); err != nil {
			return le, p.at("lb_endpoints", i).errorf("%w", err)
		}
	}
	if reader.additional && names {
		p.at("lb_endpoints", 0).to("endpoint").to("additional_addresses").warn()
	}
	return le, nil
}

// endpointReader reads the endpoints of a locality.
type endpointReader struct {
	names      bool   // addresses may be names
	proxy      string // of the locality
	additional bool   // some endpoint has additional addresses
}

func (r *endpointReader) read(m *endpointv3.LbEndpoint, to *balancer.EndpointConfig) error {
	e := m.GetEndpoint()
	if e == nil {
		return fmt.Errorf("endpoint: %w: neither an endpoint nor its address", ErrUnsupported)
	}
	var err error
	if to.Address, err = address(e.GetAddress(), r.names); err != nil {
		return fmt.Errorf("endpoint.address: %w", err)
	}
	to.Hostname = e.GetHostname()
	if w := m.GetLoadBalancingWeight(); w != nil {
		if w.GetValue() == 0 {
			return fmt.Errorf("load_balancing_weight: must not be 0")
		}
		to.Weight = w.GetValue()
	}
	if to.Health, err = health(m.GetHealthStatus()); err != nil {
		return err
	}
	if to.Check, err = endpointCheck(e.GetHealthCheckConfig()); err != nil {
		return fmt.Errorf("endpoint.health_check_config.%w", err)
	}
	if filters := m.GetMetadata().GetFilterMetadata(); len(filters) > 0 {
		to.Labels = values(filters[labelsKey])
		to.SocketLabels = labels(filters[socketLabelsKey])
	}
	if to.Via, err = endpointVia(e, m.GetMetadata(), r.proxy, r.names); err != nil {
		return err
	}
	r.additional = r.additional || len(e.GetAdditionalAddresses()) > 0
	return nil
}

func address(a *corev3.Address, names bool) (string, error) {
	s := a.GetSocketAddress()
	if s == nil {
		return "", fmt.Errorf("%w: not a socket_address", ErrUnsupported)
	}
	if s.GetProtocol() != corev3.SocketAddress_TCP {
		return "", fmt.Errorf("socket_address.protocol: %w: %s", ErrUnsupported, s.GetProtocol())
	}
	port := s.GetPortValue()
	if s.GetNamedPort() != "" || port == 0 || port > math.MaxUint16 {
		return "", fmt.Errorf("socket_address.port_value: must be 1 to 65535, and no named_port")
	}
	host := s.GetAddress()
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil:
		return ipPort(ip, host, port), nil
	case host == "":
		return "", fmt.Errorf("socket_address.address: must not be empty")
	case !names:
		return "", fmt.Errorf("socket_address.address: %q is not an IP address (names are for clusters of type STRICT_DNS and LOGICAL_DNS)", host)
	case strings.ContainsAny(host, ":/ "):
		return "", fmt.Errorf("socket_address.address: %q is neither an IP address nor a host name", host)
	}
	return host + ":" + strconv.Itoa(int(port)), nil
}

// ipPort joins an address, with the host it was parsed from, and a port.
func ipPort(ip netip.Addr, host string, port uint32) string {
	var buf [64]byte
	b := buf[:0]
	if ip.Is6() {
		b = append(append(append(b, '['), host...), ']')
	} else {
		b = append(b, host...)
	}
	return string(strconv.AppendUint(append(b, ':'), uint64(port), 10))
}

func health(s corev3.HealthStatus) (balancer.Health, error) {
	switch s {
	case corev3.HealthStatus_UNKNOWN:
		return balancer.HealthUnknown, nil
	case corev3.HealthStatus_HEALTHY:
		return balancer.Healthy, nil
	case corev3.HealthStatus_UNHEALTHY:
		return balancer.Unhealthy, nil
	case corev3.HealthStatus_DRAINING:
		return balancer.Draining, nil
	case corev3.HealthStatus_TIMEOUT:
		return balancer.Timeout, nil
	case corev3.HealthStatus_DEGRADED:
		return balancer.Degraded, nil
	}
	return 0, fmt.Errorf("health_status: unknown value %d", s)
}

// The filters whose metadata of an endpoint matter.
const (
	labelsKey       = "envoy.lb"
	socketLabelsKey = "envoy.transport_socket_match"
)

// labels returns the fields of a metadata struct as text.
func labels(s *structpb.Struct) map[string]string {
	if len(s.GetFields()) == 0 {
		return nil
	}
	m := make(map[string]string, len(s.GetFields()))
	for key, value := range s.GetFields() {
		m[key] = labelText(value)
	}
	return m
}

func labelText(v *structpb.Value) string {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return k.StringValue
	case *structpb.Value_BoolValue:
		return strconv.FormatBool(k.BoolValue)
	case *structpb.Value_NumberValue:
		return strconv.FormatFloat(k.NumberValue, 'g', -1, 64)
	default:
		text, _ := v.MarshalJSON() // a list or an object; only its sameness matters
		return string(text)
	}
}
