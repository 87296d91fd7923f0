// Package grpcgo holds Weft to what stock gRPC clients do.
//
// Its tests serve a policy by xdsserver on loopback and call real backends through two
// clients side by side: grpc-go's own xDS (google.golang.org/grpc/xds) and Weft's
// mesh.Dial. Both must answer as the policy says, and, for policies and calls made
// up at random, just alike. What xdsserver serves wrongly, the stock client refuses; what
// Weft reads otherwise than the field does, the comparison shows.
package grpcgo
