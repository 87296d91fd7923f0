package bootstrap

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/weft-mesh/weft/resolver/xds"
)

// grpcServices reads allowed_grpc_services (gRFC A102), whose entries say of a service
// what those of xds_servers say of a server, their URI being the key.
func (d *document) grpcServices() (map[string]xds.ServerConfig, error) {
	if len(d.GRPCServices) == 0 {
		return nil, nil
	}
	all := make(map[string]xds.ServerConfig, len(d.GRPCServices))
	for _, target := range slices.Sorted(maps.Keys(d.GRPCServices)) {
		if target == "" {
			return nil, errors.New("allowed_grpc_services: a target URI is empty")
		}
		j := serverJSON{URI: target, ChannelCreds: d.GRPCServices[target].ChannelCreds, CallCreds: d.GRPCServices[target].CallCreds}
		s, err := j.config(xds.ProtocolAuto)
		if err != nil {
			return nil, fmt.Errorf("allowed_grpc_services[%q].%w", target, err)
		}
		all[target] = s
	}
	return all, nil
}
