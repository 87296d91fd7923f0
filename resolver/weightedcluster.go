package resolver

import (
	"math"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weft-mesh/weft/balancer"
)

// weightedName is a cluster that has a share of a route's calls.
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
