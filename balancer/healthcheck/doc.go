// Package healthcheck has the probers of active health checks: an HTTP request, a
// question to grpc.health.v1.Health, and a TCP connection. [New] is for
// [balancer.ClusterOptions]; what to check and what a result means is package balancer's.
//
// Probes are what policy can ask for, of gRPC servers too. What grpc-go's users may know
// as client-side health checking, a Watch on each connection by healthCheckConfig of the
// service config, has no place in xDS, and a mesh's channels have no other service config: a
// check by gRPC with a short interval takes its place, and is made once for all channels.
package healthcheck
