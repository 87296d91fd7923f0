package resolver

import (
	"strings"

	mutationsv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weft-mesh/weft/balancer"
)

// Mirror says that a share of a route's calls is to be sent to a further cluster, too,
// whose answers nobody waits for
// (envoy.config.route.v3.RouteAction.RequestMirrorPolicy). It is immutable.
type Mirror struct {
	*mirrorPolicy
	// Cluster is where the copies go; nil if a header of the call names it.
	Cluster *balancer.Cluster

	route string // its name
}

type mirrorPolicy struct {
	cluster  string
	header   *headerRef // in place of cluster
	fraction *fraction  // nil for all
	headers  headerMutation

	host     string // in place of the call's
	hostGRPC bool   // for gRPC, too
	keepHost bool   // do without the suffix
}

// Take decides whether one call is mirrored.
func (m *Mirror) Take() bool { return m.fraction == nil || m.fraction.take() }

// ClusterName is the name of the cluster that a header of the call gives, where policy
// leaves that to the call; empty if there is none.
func (m *Mirror) ClusterName(r *Request) string { return m.header.clusterName(r) }

// Host is what a copy names as its host where the call names host: the same with
// "-shadow" before the port, as in Envoy, unless policy says otherwise.
func (m *Mirror) Host(host string, grpc bool) string {
	switch {
	case m.host != "" && (!grpc || m.hostGRPC):
		return m.host
	case m.keepHost || host == "":
		return host
	}
	name, port := splitPort(host)
	if port == "" {
		return host + "-shadow"
	}
	return name + "-shadow:" + port
}

// Headers changes the headers of a copy, which are h. Values are of the call, as in
// Envoy: host is what it names once it is rewritten, and cluster where it goes itself.
func (m *Mirror) Headers(r *Request, h MutableHeaders, protocol, host, cluster string) {
	if len(m.headers) > 0 {
		changed := *r
		changed.Headers, changed.Authority = h, host
		m.mirrorPolicy.headers.apply(h, &subject{request: &changed, protocol: protocol, route: m.route, cluster: cluster})
	}
}

var mirrorFields = fieldNames("cluster", "cluster_header", "runtime_fraction", "disable_shadow_host_suffix_append",
	"request_headers_mutations", "host_rewrite_literal",
	// Copies have no span of their own.
	"trace_sampled")

// mirrors reads the policies of one level.
func (p *path) mirrors(list []*routev3.RouteAction_RequestMirrorPolicy) ([]*mirrorPolicy, error) {
	var policies []*mirrorPolicy
	for i, m := range list {
		policy, err := p.at("request_mirror_policies", i).mirror(m)
		if err != nil {
			return nil, err
		}
		policies = append(policies, policy)
	}
	return policies, nil
}

func (p *path) mirror(m *routev3.RouteAction_RequestMirrorPolicy) (*mirrorPolicy, error) {
	p.warnUnread(m, mirrorFields)
	policy := &mirrorPolicy{
		cluster:  m.GetCluster(),
		keepHost: m.GetDisableShadowHostSuffixAppend(),
		host:     m.GetHostRewriteLiteral(),
		hostGRPC: p.decoder.config.Trusted,
	}
	switch {
	case m.GetCluster() != "" && m.GetClusterHeader() != "":
		return nil, p.to("cluster_header").errorf("must not stand beside cluster")
	case m.GetClusterHeader() != "":
		ref := newHeaderRef(m.GetClusterHeader())
		policy.header = &ref
	case m.GetCluster() == "":
		return nil, p.to("cluster").errorf("must not be empty")
	}
	if err := validHost(policy.host); err != nil {
		return nil, p.to("host_rewrite_literal").errorf("%w", err)
	}
	var err error
	if f := m.GetRuntimeFraction(); f != nil {
		if policy.fraction, err = p.to("runtime_fraction").to("default_value").fraction(f.GetDefaultValue()); err != nil {
			return nil, err
		}
	}
	policy.headers, err = p.headerMutations(m.GetRequestHeadersMutations())
	return policy, err
}

// headerMutations reads changes that are made one after the other, each of the headers
// as the one before left them.
func (p *path) headerMutations(list []*mutationsv3.HeaderMutation) (headerMutation, error) {
	var m headerMutation
	for i, mutation := range list {
		q := p.at("request_headers_mutations", i)
		level := uint8(i % 2) // neighbours are of different levels
		switch action := mutation.GetAction().(type) {
		case *mutationsv3.HeaderMutation_Remove:
			op, err := q.to("remove").headerOp(action.Remove, level)
			if err != nil {
				return nil, err
			}
			m = append(m, op)
		case *mutationsv3.HeaderMutation_Append:
			op, err := q.to("append").headerOption(action.Append, false, level)
			if err != nil {
				return nil, err
			}
			if op.value == nil { // a warning was given
				op.value, op.keepEmpty = &substitution{}, false
			}
			m = append(m, op)
		default:
			q.warn()
		}
	}
	return m, nil
}

// mirrorLevels gives each route that says nothing of mirroring what its virtual host, or
// else the configuration, says of it: the most specific level that is not empty holds.
func (v *routeConfig) mirrorLevels(config []*mirrorPolicy) {
	for _, h := range v.hosts {
		for _, r := range h.routes {
			if r.answer != nil || r.unsupported != nil {
				r.mirrors = nil
				continue
			}
			for _, level := range [][]*mirrorPolicy{h.mirrors, config} {
				if len(r.mirrors) == 0 {
					r.mirrors = level
				}
			}
		}
	}
}

// clusterName is the name that the header's first value gives; empty without one.
func (h *headerRef) clusterName(r *Request) string {
	if h == nil {
		return ""
	}
	name, _ := h.first(r)
	return strings.TrimSpace(name)
}

// Mirrors are where calls of the route are sent as well; nil for nowhere.
func (r *Route) Mirrors() []Mirror { return r.mirrors }

func (r *routePolicy) bindMirrors(cluster func(name string) *balancer.Cluster) []Mirror {
	var mirrors []Mirror
	for _, m := range r.mirrors {
		bound := Mirror{mirrorPolicy: m, route: r.name}
		if m.header == nil {
			bound.Cluster = cluster(m.cluster)
		}
		mirrors = append(mirrors, bound)
	}
	return mirrors
}
