package xdsserver

import (
	clusterservice "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservice "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	listenerservice "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	routeservice "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	secretservice "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"

	"github.com/weft-mesh/weft/xdsserver/policy"
)

// Register adds the aggregated discovery service and those of the five types to a
// gRPC server. See [Codec] for what to create that server with.
func (s *Server) Register(registrar grpc.ServiceRegistrar) {
	svc := &services{server: s}
	discovery.RegisterAggregatedDiscoveryServiceServer(registrar, svc)
	listenerservice.RegisterListenerDiscoveryServiceServer(registrar, svc)
	routeservice.RegisterRouteDiscoveryServiceServer(registrar, svc)
	clusterservice.RegisterClusterDiscoveryServiceServer(registrar, svc)
	endpointservice.RegisterEndpointDiscoveryServiceServer(registrar, svc)
	secretservice.RegisterSecretDiscoveryServiceServer(registrar, svc)
}

// services is the server as the generated code calls it: one way of serving under
// twelve names. The unary Fetch methods, which are there for REST, stay unimplemented.
type services struct {
	server *Server

	listenerservice.UnimplementedListenerDiscoveryServiceServer
	routeservice.UnimplementedRouteDiscoveryServiceServer
	clusterservice.UnimplementedClusterDiscoveryServiceServer
	endpointservice.UnimplementedEndpointDiscoveryServiceServer
	secretservice.UnimplementedSecretDiscoveryServiceServer
}

func (s *services) StreamAggregatedResources(gs discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return s.server.serve(gs, "", false)
}

func (s *services) DeltaAggregatedResources(gs discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return s.server.serve(gs, "", true)
}

func (s *services) StreamListeners(gs listenerservice.ListenerDiscoveryService_StreamListenersServer) error {
	return s.server.serve(gs, policy.ListenerType, false)
}

func (s *services) DeltaListeners(gs listenerservice.ListenerDiscoveryService_DeltaListenersServer) error {
	return s.server.serve(gs, policy.ListenerType, true)
}

func (s *services) StreamRoutes(gs routeservice.RouteDiscoveryService_StreamRoutesServer) error {
	return s.server.serve(gs, policy.RouteType, false)
}

func (s *services) DeltaRoutes(gs routeservice.RouteDiscoveryService_DeltaRoutesServer) error {
	return s.server.serve(gs, policy.RouteType, true)
}

func (s *services) StreamClusters(gs clusterservice.ClusterDiscoveryService_StreamClustersServer) error {
	return s.server.serve(gs, policy.ClusterType, false)
}

func (s *services) DeltaClusters(gs clusterservice.ClusterDiscoveryService_DeltaClustersServer) error {
	return s.server.serve(gs, policy.ClusterType, true)
}

func (s *services) StreamEndpoints(gs endpointservice.EndpointDiscoveryService_StreamEndpointsServer) error {
	return s.server.serve(gs, policy.EndpointType, false)
}

func (s *services) DeltaEndpoints(gs endpointservice.EndpointDiscoveryService_DeltaEndpointsServer) error {
	return s.server.serve(gs, policy.EndpointType, true)
}

func (s *services) StreamSecrets(gs secretservice.SecretDiscoveryService_StreamSecretsServer) error {
	return s.server.serve(gs, policy.SecretType, false)
}

func (s *services) DeltaSecrets(gs secretservice.SecretDiscoveryService_DeltaSecretsServer) error {
	return s.server.serve(gs, policy.SecretType, true)
}
