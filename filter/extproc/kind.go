package extproc

import (
	"fmt"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"

	"github.com/weft-mesh/weft/filter"
)

const (
	typePrefix   = "envoy.extensions.filters.http.ext_proc.v3."
	listenerType = typePrefix + "ExternalProcessor"
	perRouteType = typePrefix + "ExtProcPerRoute"
)

// Kind returns the kind of the external processing filter, for mesh.WithFilter.
func Kind() filter.Kind { return kind{} }

type kind struct{}

func (kind) Types() []string { return []string{listenerType, perRouteType} }

func (kind) Parse(c *filter.Config) (any, error) {
	switch perRoute := filter.TypeName(c.TypeURL) == perRouteType; {
	case perRoute && c.Override:
		var m extprocv3.ExtProcPerRoute
		if err := c.Decode(&m); err != nil {
			return nil, err
		}
		return parseOverride(c, &m)
	case perRoute:
		return nil, fmt.Errorf("%s is an override, not a filter", perRouteType)
	case c.Override:
		return nil, fmt.Errorf("must be overridden by %s", perRouteType)
	}
	var m extprocv3.ExternalProcessor
	if err := c.Decode(&m); err != nil {
		return nil, err
	}
	return parseConfig(c, &m)
}

func (kind) New(listener any, overrides []any) (filter.Filter, error) {
	c := *listener.(*config)
	disabled := false
	for _, o := range overrides {
		o := o.(*override)
		if disabled = o.disabled; !disabled {
			o.apply(&c)
		}
	}
	if disabled || c.mode.nothing() {
		return nil, nil
	}
	return &processor{&c}, nil
}
