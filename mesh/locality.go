package mesh

import (
	"errors"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resolver"
	"github.com/weft-mesh/weft/resolver/xds/bootstrap"
)

// Locality is where a process runs, in the words in which policy says where endpoints
// do. Parts may be empty, but not all.
type Locality struct{ Region, Zone, SubZone string }

// WithLocality says where the process runs, for balancing that keeps calls in their
// zone; a control plane is told too. service, if it is not empty, is the cluster that the
// process is itself an endpoint of, Envoy's local cluster: where its endpoints are says
// which part of a zone's calls may stay there. Without one callers are taken to be
// spread evenly.
//
// A bootstrap says both in node.locality and weft.local_cluster; what it says already
// must not be said again.
func WithLocality(l Locality, service string) Option {
	return optionFunc(func(o *options) error {
		if l == (Locality{}) {
			return errors.New("weft: WithLocality: the locality is empty")
		}
		o.locality, o.localCluster = l, service
		return nil
	})
}

// localize puts together what the bootstrap and the options say of where the process
// runs.
func localize(o *options, c *bootstrap.Config) error {
	var l Locality
	l.Region, l.Zone, l.SubZone = c.Locality()
	switch {
	case l != Locality{} && o.locality != Locality{}:
		return errors.New("WithLocality and node.locality of the bootstrap both say where the process runs; give one")
	case c.LocalCluster != "" && o.localCluster != "":
		return errors.New("WithLocality and weft.local_cluster of the bootstrap both name the process's own cluster; give one")
	case o.locality != Locality{}:
		c.SetLocality(o.locality.Region, o.locality.Zone, o.locality.SubZone)
	default:
		o.locality = l
	}
	if c.LocalCluster != "" {
		o.localCluster = c.LocalCluster
	}
	return nil
}

// local is what the resolver and its clusters are to know of where the process runs.
func (o *options) local(c *resolver.Config) {
	if o.locality != (Locality{}) {
		c.Local = balancer.NewLocal(balancer.Locality(o.locality))
		c.LocalCluster = o.localCluster
	}
}
