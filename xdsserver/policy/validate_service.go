package policy

import (
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (v *validator) service(p path, name string, s *Service) {
	v.name(p, "service", name)
	v.enum(p.field("protocol"), string(s.Protocol), s.Protocol)
	v.fault(p.field("fault"), name, s.Fault, false)
	v.rateLimit(p.field("rateLimit"), s.RateLimit, false)
	if s.Failover != nil {
		v.failover(p, name, s)
		return
	}
	switch {
	case s.Endpoints == nil && s.Discover == nil:
		v.missingf(p, "service %q has neither endpoints nor discover", name)
	case s.Endpoints != nil && s.Discover != nil:
		v.nameErrorf(p.field("discover"), `"discover" cannot stand beside "endpoints"`)
	}
	v.endpoints(p.field("endpoints"), s.Endpoints)
	if s.Discover != nil {
		v.discover(p.field("discover"), s.Discover)
	}
	for _, subset := range sortedKeys(s.Subsets) {
		at := p.field("subsets").field(subset)
		v.name(at, "subset", subset)
		switch {
		case s.Discover != nil:
			v.nameErrorf(at, "endpoints that DNS finds have no labels to make a subset of")
		case len(s.Subsets[subset]) == 0:
			v.missingf(at, "subset %q has no labels: it would be the whole service", subset)
		}
	}
	if s.Balance != nil {
		v.balance(p.field("balance"), s)
	}
	if s.Session != nil {
		v.session(p.field("session"), s.Session, false)
	}
	if s.OutlierDetection != nil {
		v.outlierDetection(p.field("outlierDetection"), s.OutlierDetection)
	}
	if s.Breaker != nil {
		v.breakers(p.field("breaker"), s.Breaker)
	}
	if s.Connections != nil {
		v.connections(p.field("connections"), s)
	}
	for i, c := range s.HealthChecks {
		v.healthCheck(p.field("healthChecks").index(i), c)
	}
	if s.Limits != nil {
		v.limits(p.field("limits"), s.Limits)
	}
	v.positive(p.field("connectTimeout"), s.ConnectTimeout)
}

// maxPriority is the bound of envoy.config.endpoint.v3.LocalityLbEndpoints.
const maxPriority = 128

func (v *validator) endpoints(p path, endpoints []*Endpoint) {
	first := make(map[netip.AddrPort]path)
	priorities := make(map[uint32]bool)
	var sum uint64
	for i, e := range endpoints {
		at := p.index(i)
		v.address(at, e.Address, first)
		v.enum(at.field("health"), string(e.Health), e.Health)
		switch weight := e.weight(); {
		case weight == 0:
			v.errorf(at.field("weight"), "the weight of an endpoint is at least 1: take an endpoint out of service with {health: draining}")
		default:
			sum += uint64(weight)
		}
		if port := e.HealthCheckPort; port != nil && (*port == 0 || *port > math.MaxUint16) {
			v.errorf(at.field("healthCheckPort"), "%d is not a port", *port)
		}
		priorities[e.Priority] = true
		if e.Priority > maxPriority {
			v.errorf(at.field("priority"), "the priority of an endpoint is at most %d", maxPriority)
		}
	}
	if sum > math.MaxUint32 {
		v.errorf(p, "the weights of the endpoints add up to %d: at most %d", sum, uint32(math.MaxUint32))
	}
	for i, e := range endpoints {
		if e.Priority > 0 && e.Priority <= maxPriority && !priorities[e.Priority-1] {
			v.errorf(p.index(i).field("priority"), "no endpoint has the priority %d: priorities count from 0 without a gap", e.Priority-1)
		}
	}
}

// address checks an endpoint's address; first remembers who had it before.
func (v *validator) address(endpoint path, address string, first map[netip.AddrPort]path) {
	p := endpoint.field("address")
	if _, long := v.policy.positions[p]; !long { // an endpoint that is a plain string
		p = endpoint
	}
	if v.incomplete[endpoint.field("address")] {
		return
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || !validPort(port) {
		v.errorf(p, "bad address %q: want host:port, such as 127.0.0.1:9001 or [::1]:9001", shorten(address))
		return
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil && validHostName(host):
		v.errorf(p, "bad address %q: the host of an endpoint is an IP address; a name to look up belongs in discover: {dns: %s}", shorten(address), address)
		return
	case err != nil || addr.Zone() != "":
		v.errorf(p, "bad address %q: the host is not an IP address", shorten(address))
		return
	}
	number, _ := strconv.ParseUint(port, 10, 16)
	key := netip.AddrPortFrom(addr, uint16(number))
	if other, ok := first[key]; ok {
		at := string(other)
		if pos := v.policy.positions.find(other).value; pos != (Position{}) {
			at = pos.String()
		}
		v.errorf(p, "the address %s is listed twice, first at %s", address, at)
		return
	}
	first[key] = p
}

func (v *validator) discover(p path, d *Discover) {
	host, port, err := net.SplitHostPort(d.DNS)
	switch {
	case v.incomplete[p.field("dns")]:
	case err != nil || !validPort(port):
		v.errorf(p.field("dns"), "bad address %q: want host:port, such as orders.internal:9000", shorten(d.DNS))
	case !validHostName(host):
		if _, err := netip.ParseAddr(host); err != nil {
			v.errorf(p.field("dns"), "bad address %q: %q is not a host name", shorten(d.DNS), shorten(host))
		}
	}
	v.enum(p.field("mode"), string(d.Mode), d.Mode)
	if d.Refresh != nil && *d.Refresh <= time.Millisecond {
		v.errorf(p.field("refresh"), "refresh is %s: it must be more than 1ms", *d.Refresh)
	}
}

func (v *validator) balance(p path, s *Service) {
	b := s.Balance
	v.enum(p.field("policy"), string(b.Policy), b.Policy)
	if b.ChoiceCount != nil {
		switch {
		case b.Policy != LeastRequest:
			v.nameErrorf(p.field("choiceCount"), `"choiceCount" is for the policy least_request only`)
		case *b.ChoiceCount < 2:
			v.errorf(p.field("choiceCount"), "choiceCount is %d: at least 2 endpoints are to be compared", *b.ChoiceCount)
		}
	}
	v.learningBalance(p, b)
	v.hashBalance(p, b)
	if b.ZoneAware != nil {
		v.zoneAware(p.field("zoneAware"), s)
	}
	if b.LocalityWeights == nil {
		return
	}
	p = p.field("localityWeights")
	switch {
	case s.Discover != nil:
		v.nameErrorf(p, "endpoints that DNS finds have no localities to weigh")
		return
	case b.Policy == PickFirst:
		v.nameErrorf(p, "pick_first takes the first endpoint of all: localities cannot be weighed")
		return
	}
	v.weights(p, b.LocalityWeights)
	known := make(map[string]bool)
	for _, e := range s.Endpoints {
		known[e.locality()] = true
	}
	for _, name := range sortedKeys(b.LocalityWeights) {
		if !known[name] {
			v.nameErrorf(p.field(name), "no endpoint is in the locality %q", name).Suggestion = nearest(name, maps.Keys(known))
		} else if b.LocalityWeights[name] == 0 {
			v.errorf(p.field(name), "the weight of a locality is at least 1")
		}
	}
	for _, name := range sortedKeys(known) {
		if _, ok := b.LocalityWeights[name]; !ok {
			v.missingf(p, "the locality %q has endpoints and no weight: it would get no calls", name)
		}
	}
}

// weights checks that a set of weights can share anything.
func (v *validator) weights(p path, weights map[string]uint32) {
	var sum uint64
	for _, weight := range weights {
		sum += uint64(weight)
	}
	switch {
	case len(weights) == 0:
		v.missingf(p, "the weights are empty")
	case sum == 0:
		if !v.incomplete[p] {
			v.errorf(p, "the weights are all zero: nothing would get the calls")
		}
	case sum > math.MaxUint32:
		v.errorf(p, "the weights add up to %d: at most %d", sum, uint32(math.MaxUint32))
	}
}

func (v *validator) positive(p path, d *time.Duration) {
	if d != nil && *d <= 0 {
		v.errorf(p, "%s: it must be greater than zero", *d)
	}
}

// enum checks what a program may have written in place of one of the constants.
func (v *validator) enum(p path, value string, e enum) {
	if value != "" && !slices.Contains(e.values(), value) {
		v.errorf(p, "%q is not one of %s", value, strings.Join(e.values(), ", ")).Suggestion = nearest(value, slices.Values(e.values()))
	}
}

// locality is region/zone/subZone without the empty parts at its end.
func (e *Endpoint) locality() string {
	return strings.TrimRight(fmt.Sprintf("%s/%s/%s", e.Region, e.Zone, e.SubZone), "/")
}

func (e *Endpoint) weight() uint32 {
	if e.Weight == nil {
		return 1
	}
	return *e.Weight
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '+'
}

var hostLabel = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// validHostName reports whether s can be looked up in DNS. Underscores are for
// the names that Consul and Kubernetes make. A name that looks like an IP
// address with a slip in it is none.
func validHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if !hostLabel.MatchString(label) {
			return false
		}
	}
	_, err := strconv.ParseUint(labels[len(labels)-1], 10, 64)
	return len(s) <= 253 && err != nil
}
