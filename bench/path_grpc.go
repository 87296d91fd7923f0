package main

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/weft-mesh/weft/mesh"
)

var (
	unaryPaths = append([]path{
		grpcPath("bare grpc-go, round_robin over 3", newUnary, dialBare),
		control(grpcPath("", newUnary, dialBare)),
		grpcPath("the least: an interceptor and a picker", newUnary, dialLeast),
		grpcPath("Weft, 1 route", newUnary, dialWeft(1)),
		grpcPath("Weft, 100 routes", newUnary, dialWeft(100)),
		grpcPath("Weft, 1,000 routes", newUnary, dialWeft(1000)),
	}, xdsPaths(newUnary, 1, 100)...)
	limitedPaths = []path{
		grpcPath("bare grpc-go", newUnary, dialLimited),
		control(grpcPath("", newUnary, dialLimited)),
		grpcPath("Weft, one connection", newUnary, dialTarget(limitedTarget)),
		grpcPath("Weft, connections: {maxConnections: 10}", newUnary, dialTarget(limitedTarget+"-further")),
	}
	streamPaths = append([]path{
		grpcPath("bare grpc-go, round_robin over 3", newStream, dialBare),
		control(grpcPath("", newStream, dialBare)),
		grpcPath("Weft, 100 routes", newStream, dialWeft(100)),
	}, xdsPaths(newStream, 100)...)
)

func newUnary(conn *grpc.ClientConn) client  { return unary{conn} }
func newStream(conn *grpc.ClientConn) client { return stream{conn} }

// dialer makes a channel.
type dialer func(*servers, *mesh.Mesh) (*grpc.ClientConn, error)

func grpcPath(name string, newClient func(*grpc.ClientConn) client, dial dialer) path {
	return path{name, func(s *servers, m *mesh.Mesh) (client, error) {
		conn, err := dial(s, m)
		if err != nil {
			return nil, err
		}
		return newClient(conn), nil
	}}
}

func dialBare(s *servers, _ *mesh.Mesh) (*grpc.ClientConn, error) {
	return dialBalanced(s, "round_robin")
}

// dialBalanced balances the backends by a policy of grpc's.
func dialBalanced(s *servers, policy string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	r := manual.NewBuilderWithScheme("bench")
	var state resolver.State
	for _, a := range s.GRPC {
		address := resolver.Address{Addr: a}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{address}})
		state.Addresses = append(state.Addresses, address)
	}
	r.InitialState(state)
	return grpc.NewClient("bench:///bench", append(opts, grpc.WithResolvers(r),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{%q:{}}]}`, policy)),
		grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

func dialWeft(routes int) dialer { return dialTarget(target("grpc", routes)) }

func dialTarget(name string) dialer {
	return func(_ *servers, m *mesh.Mesh) (*grpc.ClientConn, error) { return m.Dial(name) }
}

func dialLimited(s *servers, _ *mesh.Mesh) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+s.Limited, grpc.WithTransportCredentials(insecure.NewCredentials()))
}
