package policy

import (
	"google.golang.org/protobuf/types/known/anypb"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// routerName is the name of the filter that every list ends with.
const routerName = "envoy.filters.http.router"

// httpFilters are the filters of a listener, which is one for clients or a server's.
func httpFilters(list []*Filter, client bool) []*hcmv3.HttpFilter {
	var filters []*hcmv3.HttpFilter
	for _, f := range list {
		filters = append(filters, &hcmv3.HttpFilter{
			Name:       f.Name,
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: f.typedConfig()},
			IsOptional: f.Optional || client && f.dispensable(),
			Disabled:   f.Disabled,
		})
	}
	return append(filters, &hcmv3.HttpFilter{
		Name:       routerName,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})},
	})
}

func filterOverrides(overrides map[string]*FilterOverride) map[string]*anypb.Any {
	if len(overrides) == 0 {
		return nil
	}
	configs := make(map[string]*anypb.Any, len(overrides))
	for name, o := range overrides {
		if o.Disabled {
			configs[name] = pack(&routev3.FilterConfig{Disabled: true})
		} else {
			configs[name] = o.typedConfig()
		}
	}
	return configs
}
