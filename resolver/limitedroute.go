package resolver

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weft-mesh/weft/filter"
)

// limitedRoute is what a route says to the filters that limit its calls. Which of its
// limits count is each filter's to say.
type limitedRoute struct {
	route, host  []rateLimit
	includesHost bool             // include_vh_rate_limits
	forwards     bool             // the route does not answer its calls itself
	metadata     *corev3.Metadata // the route's
	source       string           // the cluster that the process says it is of (node.cluster)
}

var limitedRouteFields = fieldNames("rate_limits", "include_vh_rate_limits")

// limitedRoutes reads the limits of a virtual host and of its routes, which are read
// otherwise.
func (p *path) limitedRoutes(vh *routev3.VirtualHost, routes []*routePolicy) error {
	host, err := p.rateLimits(vh.GetRateLimits(), ofRoutes)
	if err != nil {
		return err
	}
	for i, r := range vh.GetRoutes() {
		a := r.GetRoute()
		own, err := p.at("routes", i).to("route").rateLimits(a.GetRateLimits(), ofRoutes)
		if err != nil {
			return err
		}
		routes[i].limited = limitedRoute{
			route: own, host: host, includesHost: a.GetIncludeVhRateLimits().GetValue(),
			forwards: a != nil || r.GetNonForwardingAction() != nil,
			metadata: r.GetMetadata(), source: p.decoder.config.NodeCluster,
		}
	}
	return nil
}

// hostLimits says whether the limits of the virtual host count beside the route's.
type hostLimits uint8

const (
	unlessRouteHas hostLimits = iota // OVERRIDE
	besideRoute                      // INCLUDE
	never                            // IGNORE
)

// limits are those of a stage that count on the route.
func (r *limitedRoute) limits(stage uint32, host hostLimits) []*rateLimit {
	if !r.forwards {
		return nil
	}
	list := ofStage(r.route, stage)
	if r.includesHost || host == besideRoute || host == unlessRouteHas && len(r.route) == 0 {
		list = append(list, ofStage(r.host, stage)...)
	}
	return list
}

func ofStage(limits []rateLimit, stage uint32) (list []*rateLimit) {
	for i := range limits {
		if limits[i].stage == stage {
			list = append(list, &limits[i])
		}
	}
	return list
}

// routeFilter is a filter that is another on each route, by what the route says to it.
type routeFilter interface {
	filter.Filter
	// ofRoute returns the filter of a route; nil if it has no part in the route's calls.
	ofRoute(r *limitedRoute) filter.Filter
}

// ofRoute returns the filters as they are on a route.
func ofRoute(chain filter.Chain, r *limitedRoute) filter.Chain {
	if !slices.ContainsFunc(chain, func(f filter.Filter) bool { _, ok := f.(routeFilter); return ok }) {
		return chain
	}
	own := make(filter.Chain, 0, len(chain))
	for _, f := range chain {
		if general, ok := f.(routeFilter); ok {
			if f = general.ofRoute(r); f == nil {
				continue
			}
		}
		own = append(own, f)
	}
	return own
}
