// Package orca reads and writes what servers report of their load: Open Request Cost
// Aggregation (gRFC A51, https://github.com/cncf/xds, xds.data.orca.v3).
//
// Weft's clients go by the reports under the policy client_side_weighted_round_robin;
// Envoy and gRPC clients of other languages do as well. A [Report] is one of them.
//
// # What a server does
//
// An HTTP server sends its report with a response, in the header or the trailer:
// [Report.SetHeader].
//
// A gRPC server needs nothing of this package. With google.golang.org/grpc/orca,
// orca.CallMetricsServerOption has it report with each answer, in the trailer, and
// orca.Register lets clients ask for reports out of band, on a stream of their own.
package orca
