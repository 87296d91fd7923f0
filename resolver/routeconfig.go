package resolver

import (
	"math"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/balancer"
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

// routePolicy is a compiled Route, without the clusters that it names.
type routePolicy struct {
	name  string
	match *routeMatch

	// clusters share the route's calls by weight; one if the route names just one.
	clusters []weightedName
	// unsupported is why no call can take the route, and unsupportedHTTP why no
	// HTTP request can; nil if they can.
	unsupported, unsupportedHTTP error

	timeouts timeouts
	hash     []hashRule
	mirrors  []*mirrorPolicy

	notFound int // HTTP status of a cluster that does not exist

	// nonForwarding says that the route is a server's (gRFC A36).
	nonForwarding bool
	// changesHeaders says that a level of the route's changes headers.
	changesHeaders bool

	// answer is what the route says itself; it then has no clusters.
	answer  *Answer
	headers headerLevel
	path    *pathRewrite
	host    *hostRewrite
	filters filterOverrides

	attempts attempts
	limited  limitedRoute
}

type weightedName struct {
	name   string
	header *headerRef // of the call, which gives the name
	weight uint32

	headers headerLevel
	host    *hostRewrite // in place of the route's
	change  *Change
	subset  *balancer.Criteria
	filters filterOverrides
}

// timeouts are a route's limits of time as policy has them.
type timeouts struct {
	timeout              time.Duration
	maxStreamDuration    optionalDuration
	grpcTimeoutHeaderMax optionalDuration
	idle                 optionalDuration
}

type optionalDuration struct {
	d   time.Duration
	set bool
}

// defaultTimeout is Envoy's, for a route that does not set one.
const defaultTimeout = 15 * time.Second

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

var routeFields = fieldNames("name", "match", "route", "redirect", "direct_response", "filter_action",
	"non_forwarding_action", "metadata", "decorator", "stat_prefix", "per_request_buffer_limit_bytes",
	"request_body_buffer_limit")

func (p *path) route(r *routev3.Route) (*routePolicy, error) {
	m, err := p.to("match").routeMatch(r.GetMatch())
	if err != nil {
		return nil, err
	}
	policy := &routePolicy{name: r.GetName(), match: m}
	if policy.headers, err = p.headerLevel(r, levelRoute); err != nil {
		return nil, err
	}
	if policy.filters, err = p.filterOverrides(r); err != nil {
		return nil, err
	}
	p.warnUnread(r, routeFields, headerFields, filterFields)
	// A route whose action cannot be taken still has its place: the calls that match
	// it must not fall to the routes after it.
	var action string
	switch a := r.GetAction().(type) {
	case *routev3.Route_Route:
		return policy, p.to("route").routeAction(a.Route, policy)
	case *routev3.Route_Redirect:
		return policy, p.to("redirect").redirect(a.Redirect, policy)
	case *routev3.Route_DirectResponse:
		return policy, p.to("direct_response").directResponse(a.DirectResponse, policy)
	case *routev3.Route_FilterAction:
		action = "filter_action"
	case *routev3.Route_NonForwardingAction:
		policy.nonForwarding = true
		policy.unsupported = p.to("non_forwarding_action").errorf("%w by clients", ErrUnsupported)
		return policy, nil
	case nil:
		return nil, p.errorf("must have an action (route, redirect, ...)")
	}
	policy.refuse(p.to(action))
	return policy, nil
}

// refuse makes the route fail all calls, for the field at p.
func (r *routePolicy) refuse(p *path) {
	r.unsupported = p.errorf("%w", ErrUnsupported)
	r.clusters = nil
	p.warnFails()
}

// refuseHTTP makes the route fail HTTP requests, for the field at p.
func (r *routePolicy) refuseHTTP(p *path) {
	r.unsupportedHTTP = p.errorf("%w", ErrUnsupported)
	p.warnFails()
}

var routeActionFields = fieldNames("cluster", "cluster_header", "weighted_clusters", "cluster_specifier_plugin",
	"inline_cluster_specifier_plugin", "cluster_not_found_response_code", "timeout", "max_stream_duration",
	"max_grpc_timeout", "hash_policy", "metadata_match", "request_mirror_policies", "priority",
	"retry_policy", "hedge_policy", "idle_timeout")

// rewriteFields change what is sent. A request that is sent without the change asks
// the wrong thing of the backend, so that one that cannot be made fails the call.
var rewriteFields = fieldNames("prefix_rewrite", "regex_rewrite", "path_rewrite_policy", "path_rewrite",
	"host_rewrite_literal", "auto_host_rewrite", "host_rewrite_header", "host_rewrite_path_regex", "host_rewrite",
	"append_x_forwarded_host")

func (p *path) routeAction(a *routev3.RouteAction, to *routePolicy) error {
	if err := p.timeouts(a, &to.timeouts); err != nil {
		return err
	}
	var err error
	if to.hash, err = p.hashPolicies(a.GetHashPolicy()); err != nil {
		return err
	}
	if err := p.notFound(a, to); err != nil {
		return err
	}
	if to.mirrors, err = p.mirrors(a.GetRequestMirrorPolicies()); err != nil {
		return err
	}
	p.warnUnread(a, routeActionFields, rewriteFields, limitedRouteFields)
	if err := p.rewrites(a, to); err != nil {
		return err
	}
	switch c := a.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		if c.Cluster == "" {
			return p.to("cluster").errorf("must not be empty")
		}
		subset := balancer.NewCriteria(criteria(nil, a.GetMetadataMatch()))
		to.clusters = []weightedName{{name: c.Cluster, weight: 1, subset: subset}}
	case *routev3.RouteAction_WeightedClusters:
		return p.to("weighted_clusters").weightedClusters(c.WeightedClusters, criteria(nil, a.GetMetadataMatch()), to)
	case *routev3.RouteAction_ClusterHeader:
		if c.ClusterHeader == "" {
			return p.to("cluster_header").errorf("must not be empty")
		}
		ref := newHeaderRef(c.ClusterHeader)
		to.clusters = []weightedName{{header: &ref, weight: 1, subset: balancer.NewCriteria(criteria(nil, a.GetMetadataMatch()))}}
	case *routev3.RouteAction_ClusterSpecifierPlugin:
		to.refuse(p.to("cluster_specifier_plugin"))
	case *routev3.RouteAction_InlineClusterSpecifierPlugin:
		to.refuse(p.to("inline_cluster_specifier_plugin"))
	case nil:
		return p.errorf("must say which cluster (cluster, weighted_clusters, ...)")
	}
	if to.unsupported != nil {
		to.clusters = nil
	}
	return nil
}

// notFound reads what calls fail with whose cluster does not exist, and their priority.
func (p *path) notFound(a *routev3.RouteAction, to *routePolicy) error {
	switch c := a.GetClusterNotFoundResponseCode(); c {
	case routev3.RouteAction_SERVICE_UNAVAILABLE:
		to.notFound = 503
	case routev3.RouteAction_NOT_FOUND:
		to.notFound = 404
	case routev3.RouteAction_INTERNAL_SERVER_ERROR:
		to.notFound = 500
	default:
		return p.to("cluster_not_found_response_code").errorf("unknown value %d", c)
	}
	return nil
}

var (
	weightedClustersFields = fieldNames("clusters", "total_weight", "runtime_key_prefix")
	clusterWeightFields    = fieldNames("name", "cluster_header", "weight", "metadata_match", "host_rewrite_literal")
)

// weightedClusters reads the clusters of a route that asks for a subset already.
func (p *path) weightedClusters(w *routev3.WeightedCluster, subset map[string]balancer.Value, to *routePolicy) error {
	p.warnUnread(w, weightedClustersFields)
	if w.GetHeaderName() != "" || w.GetUseHashPolicy().GetValue() {
		to.refuse(p) // the request, not chance, is to say which cluster
		return nil
	}
	var total uint64
	for i, c := range w.GetClusters() {
		q := p.at("clusters", i)
		q.warnUnread(c, clusterWeightFields, headerFields, filterFields)
		one := weightedName{name: c.GetName(), weight: c.GetWeight().GetValue()}
		if c.GetClusterHeader() != "" {
			ref := newHeaderRef(c.GetClusterHeader())
			one.header = &ref
		}
		one.subset = balancer.NewCriteria(criteria(subset, c.GetMetadataMatch()))
		var err error
		if one.headers, err = q.headerLevel(c, levelCluster); err != nil {
			return err
		}
		if one.host, err = q.clusterHost(c); err != nil {
			return err
		}
		if one.filters, err = q.filterOverrides(c); err != nil {
			return err
		}
		total += uint64(c.GetWeight().GetValue())
		switch {
		case c.GetName() != "" && c.GetClusterHeader() != "":
			return q.to("cluster_header").errorf("must not stand beside name")
		case c.GetName() == "" && c.GetClusterHeader() == "":
			return q.to("name").errorf("must not be empty")
		case c.GetWeight().GetValue() > 0:
			to.clusters = append(to.clusters, one)
		}
	}
	switch {
	case total == 0:
		return p.errorf("the weights add up to 0")
	case total > math.MaxUint32:
		return p.errorf("the weights add up to %d, more than %d", total, uint32(math.MaxUint32))
	case to.unsupported != nil:
		to.clusters = nil
	}
	return nil
}

var maxStreamDurationFields = fieldNames("max_stream_duration", "grpc_timeout_header_max")

// timeouts reads the limits of time. max_grpc_timeout is the older form of
// grpc_timeout_header_max.
func (p *path) timeouts(a *routev3.RouteAction, t *timeouts) error {
	timeout, err := p.duration("timeout", a.GetTimeout())
	if err != nil {
		return err
	}
	t.timeout = defaultTimeout
	if timeout.set {
		t.timeout = timeout.d
	}
	if t.idle, err = p.duration("idle_timeout", a.GetIdleTimeout()); err != nil {
		return err
	}
	if t.grpcTimeoutHeaderMax, err = p.duration("max_grpc_timeout", a.GetMaxGrpcTimeout()); err != nil {
		return err
	}
	m := a.GetMaxStreamDuration()
	if m == nil {
		return nil
	}
	q := p.to("max_stream_duration")
	// grpc_timeout_header_offset has a proxy's time be up before its caller's. Here they
	// are one (gRFC A31).
	q.warnUnread(m, maxStreamDurationFields)
	if t.maxStreamDuration, err = q.duration("max_stream_duration", m.GetMaxStreamDuration()); err != nil {
		return err
	}
	if m.GetGrpcTimeoutHeaderMax() != nil {
		t.grpcTimeoutHeaderMax, err = q.duration("grpc_timeout_header_max", m.GetGrpcTimeoutHeaderMax())
	}
	return err
}

// duration reads a duration that must not be negative.
func (p *path) duration(field string, d *durationpb.Duration) (optionalDuration, error) {
	if d == nil {
		return optionalDuration{}, nil
	}
	if err := d.CheckValid(); err != nil {
		return optionalDuration{}, p.to(field).errorf("%w", err)
	}
	if d.AsDuration() < 0 {
		return optionalDuration{}, p.to(field).errorf("%s is negative", d.AsDuration())
	}
	return optionalDuration{d.AsDuration(), true}, nil
}
