package resolver

import (
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// Statistics and timeouts by header are a proxy's own.
var routerFields = fieldNames("suppress_envoy_headers", "dynamic_stats", "strict_check_headers",
	"respect_expected_rq_timeout", "suppress_grpc_request_failure_code_stats", "reject_connect_request_early_data")

// router reads the configuration of the router, which ends a listener's filters.
func (p *path) router(config *anypb.Any, v *listener) error {
	var m routerv3.Router
	if !config.MessageIs(&m) {
		return nil // a TypedStruct: nothing to read
	}
	if err := config.UnmarshalTo(&m); err != nil {
		return p.errorf("%w", err)
	}
	p.warnUnread(&m, routerFields)
	v.keepsNoOriginals = m.GetSuppressEnvoyHeaders()
	return nil
}
