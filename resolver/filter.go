package resolver

import (
	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// Filter is one HTTP filter of a listener.
type Filter struct {
	// Name is the filter's name in the listener, by which routes override it.
	Name string
	// TypeURL is the type of its configuration.
	TypeURL string
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
func (p *path) filters(list []*hcmv3.HttpFilter) ([]Filter, error) {
	var filters []Filter
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
			return filters, nil
		case url == routerURL:
			return nil, q.errorf("the router must be the last filter")
		case f.GetConfigDiscovery() != nil && !f.GetIsOptional():
			return nil, q.to("config_discovery").errorf("%w", ErrUnsupported)
		case !harmlessFilters[url] && !f.GetIsOptional() && !f.GetDisabled():
			return nil, q.errorf("filter %q of type %s: %w", f.GetName(), url, ErrUnsupported)
		}
		p.to("http_filters[" + f.GetName() + "]").warn()
		filters = append(filters, Filter{Name: f.GetName(), TypeURL: url})
	}
	return nil, p.to("http_filters").errorf("the last one must be the router (%s)", routerURL)
}

// configType returns the type URL of an extension's configuration, which may be
// wrapped in a TypedStruct.
func configType(config *anypb.Any) string {
	switch {
	case config.MessageIs((*udpav1.TypedStruct)(nil)):
		var s udpav1.TypedStruct
		if config.UnmarshalTo(&s) == nil {
			return s.GetTypeUrl()
		}
	case config.MessageIs((*xdsv3.TypedStruct)(nil)):
		var s xdsv3.TypedStruct
		if config.UnmarshalTo(&s) == nil {
			return s.GetTypeUrl()
		}
	}
	return config.GetTypeUrl()
}
