// Package healthcheck has the probers of active health checks: an HTTP request, a
// question to grpc.health.v1.Health, and a TCP connection. [New] is for
// [balancer.ClusterOptions]; what to check and what a result means is package balancer's.
package healthcheck
