package resolver

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weft-mesh/weft/balancer"
)

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
