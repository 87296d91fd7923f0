// Package grpcgo holds Weft to what stock gRPC clients do.
//
// Its tests serve a policy by xdsserver on loopback and call real backends through two
// clients side by side: grpc-go's own xDS (google.golang.org/grpc/xds) and Weft's
// mesh.Dial. Both must answer as the policy says, and, for policies and calls made
// up at random, just alike; a failure prints the seed with which WEFT_SEED replays it. What
// xdsserver serves wrongly, the stock client refuses; what Weft reads otherwise than the
// field does, the comparison shows.
//
// Retries are compared by attempts, by the numbers that they bear
// (grpc-previous-rpc-attempts), and by how calls end, against a backend that speaks HTTP/2 by
// hand.
//
// # Where retries differ
//
//   - A backoff, or a pushback, that ends after the deadline: Weft ends the call at once with
//     the failure. grpc-go waits, and says DEADLINE_EXCEEDED.
//   - A pushback beyond 32 bits: gRFC A6 has a number of 32 bits, and one that is not asks for
//     no retry. grpc-go takes 64 bits.
//   - An HTTP status with nothing of gRPC: grpc-go makes a status of it and retries that.
//     Weft does not, nor does Envoy.
//   - A unary request that is larger than what is kept: Weft has it from the caller, and
//     keeps nothing. grpc-go does not retry it.
//   - The limit of what is kept of a stream: Weft counts messages, grpc-go five bytes more for
//     each. grpc's own transparent retry goes by the option of the call.
//   - The cap of five attempts is for service configs: a policy by xDS has none in either.
//   - A stream that fails while grpc-go sends it again what was sent before: grpc-go says
//     io.EOF, and the status when it is received from once more. Weft says the status.
//   - num_retries of 0: grpc-go refuses the route table; Weft and Envoy do not retry.
package grpcgo
