// Package grpctransport carries xDS streams over gRPC. Its [Builder] is the
// [xds.TransportBuilder] of every client that talks to a real control plane; it
// turns the channel and call credentials of a server's configuration into
// connections. All streams to a server share one connection.
package grpctransport
