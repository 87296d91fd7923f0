// Package grpcservice reaches the gRPC services that policy has filters ask (gRFC
// A102): [Services] reads envoy.config.core.v3.GrpcService for package filter.
//
// Who says where such a service is gets to see what filters send there, and decides on
// calls. So a control plane may name any service only if the bootstrap trusts it
// (server feature trusted_xds_server); otherwise only those of the bootstrap's
// allowed_grpc_services, and the credentials are then the bootstrap's. A policy that the
// program has itself is trusted. A service that is not allowed refuses the resource.
//
// Services are named by google_grpc.target_uri. Policy secures a channel by the first of
// channel_credentials_plugin that is known: TlsCredentials with the bootstrap's
// certificate providers, or InsecureCredentials. As in gRFC A102, channel_credentials and
// call_credentials are not read. Not supported, and refused: envoy_grpc, target URIs of
// the xds scheme (a service is not called through the mesh yet).
//
// Channels are shared by target and credentials, and live as long as a configuration
// that names them does, over the versions of a resource.
package grpcservice
