package resolver

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
)

// routeConfig is a compiled RouteConfiguration: everything of it that does not
// depend on a target. It is immutable.
type routeConfig struct {
	name  string
	hosts []*virtualHost
	index hostIndex

	// ignoreParams leaves path parameters (";a=b") out when matching paths.
	ignoreParams bool

	filters filterOverrides
}

// virtualHost is a compiled VirtualHost.
type virtualHost struct {
	name    string
	ordinal int // in the configuration
	routes  []*routePolicy
	index   *routeIndex
	headers headerLevel
	filters filterOverrides
	mirrors []*mirrorPolicy
}

// clusters adds the names of the clusters that the virtual host refers to.
func (h *virtualHost) clusters(to map[string]bool) {
	for _, r := range h.routes {
		for _, c := range r.clusters {
			to[c.name] = true
		}
		for _, m := range r.mirrors {
			if m.header == nil {
				to[m.cluster] = true
			}
		}
	}
}

func decodeRouteConfig(c TypesConfig, raw []byte) (string, any, error) {
	var rc routev3.RouteConfiguration
	if err := proto.Unmarshal(raw, &rc); err != nil {
		return "", nil, err
	}
	d := &decoder{config: c, kind: "RouteConfiguration", name: rc.GetName()}
	v, err := d.root().routeConfig(&rc)
	if err != nil {
		return rc.GetName(), nil, err
	}
	return rc.GetName(), v, nil
}

var routeConfigFields = fieldNames("name", "virtual_hosts", "validate_clusters", "max_direct_response_body_size_bytes",
	"cluster_specifier_plugins", "ignore_port_in_host_matching", "ignore_path_parameters_in_path_matching",
	"vhost_header", "metadata", "request_mirror_policies", "most_specific_header_mutations_wins")

func (p *path) routeConfig(rc *routev3.RouteConfiguration) (*routeConfig, error) {
	if rc.GetVhostHeader() != "" {
		return nil, p.to("vhost_header").errorf("%w", ErrUnsupported)
	}
	v := &routeConfig{
		name:         rc.GetName(),
		hosts:        make([]*virtualHost, len(rc.GetVirtualHosts())),
		index:        hostIndex{ignorePort: rc.GetIgnorePortInHostMatching()},
		ignoreParams: rc.GetIgnorePathParametersInPathMatching(),
	}
	for i, vh := range rc.GetVirtualHosts() {
		q := p.at("virtual_hosts", i)
		h, err := q.virtualHost(vh)
		if err != nil {
			return nil, err
		}
		h.ordinal = i
		v.hosts[i] = h
		if len(vh.GetDomains()) == 0 {
			return nil, q.to("domains").errorf("must not be empty")
		}
		for j, domain := range vh.GetDomains() {
			if !v.index.add(domain, h) {
				return nil, q.at("domains", j).errorf("%q is already a domain of this or another virtual host", domain)
			}
		}
	}
	headers, err := p.headerLevel(rc, levelConfig)
	if err != nil {
		return nil, err
	}
	v.changes(headers, rc.GetMostSpecificHeaderMutationsWins())
	if err := p.answerSizes(rc, v); err != nil {
		return nil, err
	}
	mirrors, err := p.mirrors(rc.GetRequestMirrorPolicies())
	if err != nil {
		return nil, err
	}
	v.mirrorLevels(mirrors)
	if v.filters, err = p.filterOverrides(rc); err != nil {
		return nil, err
	}
	p.warnUnread(rc, routeConfigFields, headerFields, filterFields)
	return v, nil
}

var virtualHostFields = fieldNames("name", "domains", "routes", "require_tls", "virtual_clusters", "metadata", "request_mirror_policies",
	"retry_policy", "hedge_policy", "include_request_attempt_count", "include_attempt_count_in_response",
	"per_request_buffer_limit_bytes", "request_body_buffer_limit")

func (p *path) virtualHost(vh *routev3.VirtualHost) (*virtualHost, error) {
	if vh.GetMatcher() != nil {
		return nil, p.to("matcher").errorf("%w", ErrUnsupported)
	}
	h := &virtualHost{name: vh.GetName(), routes: make([]*routePolicy, len(vh.GetRoutes()))}
	matches := make([]*routeMatch, len(vh.GetRoutes()))
	for i, r := range vh.GetRoutes() {
		policy, err := p.at("routes", i).route(r)
		if err != nil {
			return nil, err
		}
		if policy.attempts, err = p.at("routes", i).attempts(p, vh, r); err != nil {
			return nil, err
		}
		if vh.GetRequireTls() != routev3.VirtualHost_NONE {
			policy.refuseHTTP(p.to("require_tls"))
		}
		h.routes[i], matches[i] = policy, policy.match
	}
	h.index = newRouteIndex(matches)
	err := p.limitedRoutes(vh, h.routes)
	if err != nil {
		return nil, err
	}
	if h.headers, err = p.headerLevel(vh, levelHost); err != nil {
		return nil, err
	}
	if h.mirrors, err = p.mirrors(vh.GetRequestMirrorPolicies()); err != nil {
		return nil, err
	}
	if h.filters, err = p.filterOverrides(vh); err != nil {
		return nil, err
	}
	p.warnUnread(vh, virtualHostFields, headerFields, filterFields, limitedRouteFields)
	return h, nil
}
