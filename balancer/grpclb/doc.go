// Package grpclb lets a *grpc.ClientConn balance by a mesh's clusters.
//
// It is a thin adapter and decides nothing: the endpoints, their health and the
// choice among them are package balancer's. What it does is translate.
//
//   - A gRPC resolver hands it the clusters that a channel's table names
//     ([WithClusters]); for each it opens a [balancer.View] whose connections are
//     SubConns.
//   - A call says which cluster it was routed to through its context ([Call],
//     found by [CallKey]); the picker asks that cluster's view.
//   - Connectivity goes the other way: SubConn states into views, the views'
//     states into the channel's.
//
// A call may have been routed by a table that the channel has left behind. The
// picker then asks the call to be routed again, so that no call fails because a
// cluster went away between its routing and its pick.
package grpclb
