package resolver

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/filter"
)

// Filter is one HTTP filter of a listener.
type Filter struct {
	// Name is the filter's name in the listener, by which routes override it.
	Name string
	// TypeURL is the type of its configuration.
	TypeURL string
	// Disabled says that it has a part only in the calls of routes that override it
	// (HttpFilter.disabled).
	Disabled bool
}

// httpFilter is a filter with its configuration.
type httpFilter struct {
	Filter
	config *filter.Parsed // nil if it is not acted on
	// missing is why calls that it has a part in fail: they must not do without it, and
	// it cannot be had. Empty if that is not so.
	missing string
	// discovery is where the configuration comes from; nil for the listener.
	discovery *filterDiscovery
}

const filterTypes = "type.googleapis.com/envoy.extensions.filters.http."

const routerURL = filterTypes + "router.v3.Router"

// harmlessFilters may be left out: a call without them goes to the same place, and
// no one comes to see more than they should. All other filters that are not known
// are refused, unless they are optional (gRFC A39).
var harmlessFilters = map[string]bool{
	filterTypes + "fault.v3.HTTPFault":                          true,
	filterTypes + "cors.v3.Cors":                                true,
	filterTypes + "grpc_stats.v3.FilterConfig":                  true,
	filterTypes + "grpc_web.v3.GrpcWeb":                         true,
	filterTypes + "header_mutation.v3.HeaderMutation":           true,
	filterTypes + "adaptive_concurrency.v3.AdaptiveConcurrency": true,
	filterTypes + "admission_control.v3.AdmissionControl":       true,
	filterTypes + "bandwidth_limit.v3.BandwidthLimit":           true,
	filterTypes + "buffer.v3.Buffer":                            true,
	filterTypes + "compressor.v3.Compressor":                    true,
	filterTypes + "decompressor.v3.Decompressor":                true,
	filterTypes + "local_ratelimit.v3.LocalRateLimit":           true,
	filterTypes + "ratelimit.v3.RateLimit":                      true,
	filterTypes + "tap.v3.Tap":                                  true,
	// Istio's, which add to telemetry.
	"type.googleapis.com/io.istio.http.peer_metadata.Config":                        true,
	"type.googleapis.com/stats.PluginConfig":                                        true,
	"type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig": true,
}

// filters reads a listener's filters: the router must be there, and be the last.
func (p *path) filters(list []*hcmv3.HttpFilter, v *listener) ([]httpFilter, error) {
	var filters []httpFilter
	names := make(map[string]bool, len(list))
	for i, f := range list {
		q := p.at("http_filters", i)
		if f.GetName() == "" {
			return nil, q.to("name").errorf("must not be empty")
		}
		if names[f.GetName()] {
			return nil, q.to("name").errorf("%q is the name of another filter too", f.GetName())
		}
		names[f.GetName()] = true
		url := configType(f.GetTypedConfig())
		last := i == len(list)-1
		switch {
		case url == routerURL && last:
			return filters, q.to("typed_config").router(f.GetTypedConfig(), v)
		case url == routerURL:
			return nil, q.errorf("the router must be the last filter")
		}
		one, err := p.filter(q, f, url)
		if err != nil {
			return nil, err
		}
		filters = append(filters, one)
	}
	return nil, p.to("http_filters").errorf("the last one must be the router (%s)", routerURL)
}

// filter reads one filter, at q.
func (p *path) filter(q *path, f *hcmv3.HttpFilter, url string) (httpFilter, error) {
	one := httpFilter{Filter: Filter{Name: f.GetName(), TypeURL: url, Disabled: f.GetDisabled()}}
	named := p.to("http_filters[" + f.GetName() + "]")
	if f.GetConfigDiscovery() != nil {
		var err error
		one.discovery, err = q.to("config_discovery").filterDiscovery(f)
		return one, err
	}
	if kinds := p.decoder.config.Filters; kinds.Knows(url) && !p.clientOnly(url) {
		var err error
		if one.config, err = kinds.Parse(f.GetTypedConfig(), filter.Place{Warn: named.to("typed_config").warnField}); err != nil {
			return one, q.to("typed_config").errorf("%w", err)
		}
		return one, nil
	}
	if !p.harmless(url) && !f.GetIsOptional() {
		one.missing = fmt.Sprintf("type %s: %v", url, ErrUnsupported)
	}
	if one.missing != "" && !one.Disabled {
		return one, q.errorf("filter %q of type %s: %w", f.GetName(), url, ErrUnsupported)
	}
	named.warn()
	return one, nil
}

// warnField says once that a field in p is not acted on.
func (p *path) warnField(field string) { p.to(field).warn() }

// filterOverrides are what one level of a route configuration says of filters, by
// their name in the listener. Nil says nothing.
type filterOverrides map[string]filterOverride

// filterOverride turns a filter off, or on with another configuration.
type filterOverride struct {
	disabled bool
	config   *filter.Parsed // nil if the type is not known
	typeURL  string
}

var filterFields = fieldNames("typed_per_filter_config")

// filterOverrider is a level of a route configuration.
type filterOverrider interface {
	GetTypedPerFilterConfig() map[string]*anypb.Any
}

// filterOverrides reads what a level says of filters. One of a type that is not known
// is an error (gRFC A39), unless it is optional or one of those that Envoy has: it then
// has no effect, or fails the routes where it would override a filter that is run.
func (p *path) filterOverrides(m filterOverrider) (filterOverrides, error) {
	list := m.GetTypedPerFilterConfig()
	if len(list) == 0 {
		return nil, nil
	}
	overrides := make(filterOverrides, len(list))
	for _, name := range slices.Sorted(maps.Keys(list)) {
		q := p.to("typed_per_filter_config[" + name + "]")
		config, optional := list[name], false
		if config.MessageIs((*routev3.FilterConfig)(nil)) {
			var wrapped routev3.FilterConfig
			if err := config.UnmarshalTo(&wrapped); err != nil {
				return nil, q.errorf("%w", err)
			}
			if wrapped.GetDisabled() {
				overrides[name] = filterOverride{disabled: true}
				continue
			}
			if wrapped.GetConfig() == nil {
				return nil, q.to("config").errorf("must be set")
			}
			config, optional = wrapped.GetConfig(), wrapped.GetIsOptional()
			q = q.to("config")
		}
		one := filterOverride{typeURL: configType(config)}
		switch kinds := p.decoder.config.Filters; {
		case kinds.Knows(one.typeURL):
			var err error
			if one.config, err = kinds.Parse(config, filter.Place{Override: true, Warn: q.warnField}); err != nil {
				return nil, q.errorf("%w", err)
			}
		case optional:
			p.to("typed_per_filter_config").warn()
			continue
		case !harmlessFilters[one.typeURL] && !strings.HasPrefix(one.typeURL, filterTypes):
			return nil, q.errorf("filter of type %s: %w", one.typeURL, ErrUnsupported)
		default:
			p.to("typed_per_filter_config").warn()
		}
		overrides[name] = one
	}
	return overrides, nil
}

// configType returns the type URL of an extension's configuration, which may be
// wrapped in a TypedStruct.
func configType(config *anypb.Any) string { return filter.TypeURL(config) }
