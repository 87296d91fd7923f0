// Package shop is the service that the examples call: shop.Orders, by gRPC and by
// HTTP. A backend answers with its own name, so that one can see who answered.
package shop

import (
	"context"
	"fmt"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Method is the full name of the gRPC method, as routes match it.
const Method = "/shop.Orders/Get"

// Register makes s answer as name.
func Register(s grpc.ServiceRegistrar, name string) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "shop.Orders",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Get",
			Handler: func(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
				id := new(wrapperspb.StringValue)
				if err := decode(id); err != nil {
					return nil, err
				}
				get := func(context.Context, any) (any, error) { return wrapperspb.String(name), nil }
				if intercept == nil {
					return get(ctx, id)
				}
				return intercept(ctx, id, &grpc.UnaryServerInfo{FullMethod: Method}, get)
			},
		}},
	}, struct{}{})
}

// Get asks for an order and returns the name of the backend that answered.
func Get(ctx context.Context, conn grpc.ClientConnInterface, id string) (string, error) {
	reply := new(wrapperspb.StringValue)
	err := conn.Invoke(ctx, Method, wrapperspb.String(id), reply)
	return reply.GetValue(), err
}

// Handler answers every request as name.
func Handler(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) })
}
