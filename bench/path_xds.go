//go:build xds

package main

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/xds"

	"github.com/weft-mesh/weft/mesh"
)

// grpc-go's own xDS is a peer only on request: a program that links it has grpc look for a
// load report at the end of each call of Weft's too (google.golang.org/grpc/orca), which
// programs without it need not pay for.

// xdsPeer is a row that calls of Weft's are held to allocate less than; empty for none.
const xdsPeer = "grpc-go xDS, 1 route"

func xdsPaths(newClient func(*grpc.ClientConn) client, routes ...int) []path {
	var list []path
	for _, n := range routes {
		name := fmt.Sprintf("grpc-go xDS, %d routes", n)
		if n == 1 {
			name = xdsPeer
		}
		list = append(list, grpcPath(name, newClient, dialXDS(n)))
	}
	return list
}

func dialXDS(routes int) dialer {
	return func(s *servers, _ *mesh.Mesh) (*grpc.ClientConn, error) {
		return dialXDSTarget(s, target("grpc", routes))
	}
}

func dialXDSTarget(s *servers, name string) (*grpc.ClientConn, error) {
	type object map[string]any
	bootstrap, err := json.Marshal(object{
		"xds_servers": []object{{"server_uri": s.XDS, "channel_creds": []object{{"type": "insecure"}}}},
		"node":        object{"id": "bench"},
	})
	if err != nil {
		return nil, err
	}
	// What a program gets that imports grpc/xds with this bootstrap in its environment.
	r, err := xds.NewXDSResolverWithConfigForTesting(bootstrap)
	if err != nil {
		return nil, fmt.Errorf("grpc-go xDS: %w", err)
	}
	return grpc.NewClient("xds:///"+name, grpc.WithResolvers(r), grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func init() { targetKinds = append(targetKinds, xdsTargets) }

func xdsTargets(ctx context.Context, s *servers, n int) (targetCost, error) {
	return costOf(ctx, s, "grpc-go xDS", n, func(i int) (func(), error) {
		return connected(ctx, func() (*grpc.ClientConn, error) { return dialXDSTarget(s, furtherTarget("grpc", i)) })
	})
}
