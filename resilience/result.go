package resilience

import "google.golang.org/grpc/codes"

// Headers are the headers of an answer, or the trailers where a gRPC answer has
// nothing else.
type Headers interface {
	// Header returns the value of a header. It is asked of every answer, and so by the name
	// in net/http's canonical form, which need not be made anew each time.
	Header(name string) (string, bool)
	// Values returns the values of a header, by its name in any case, as they are to be
	// matched: one by one.
	Values(name string) []string
}

// Kind is how an attempt ended.
type Kind uint8

// The kinds.
const (
	// Answered: the server said something, Result.Status or Result.Code.
	Answered Kind = iota
	// ConnectFailed: no endpoint accepted a connection. Nothing was sent.
	ConnectFailed
	// RefusedStream: the server says that it did not process the request (HTTP/2
	// REFUSED_STREAM, or a GOAWAY of earlier streams).
	RefusedStream
	// Reset: the connection or the stream ended without an answer.
	Reset
	// TimedOut: the attempt took longer than policy allows one.
	TimedOut
	// Refused: the mesh did not send it, and would not the next time either: a
	// limit, a drop, no route. Never retried (Envoy's overflow; gRFC A32).
	Refused
	// Canceled: the caller gave up, or the call's deadline passed. Never retried.
	Canceled
)

// Result is what came of one attempt.
type Result struct {
	Kind Kind
	// NotSent says that nothing of the request can have reached a server.
	NotSent bool
	// Partial says that the answer's headers came and then it failed: the call is
	// committed (gRFC A6).
	Partial bool
	// GRPC says that Code counts and not Status. Code also stands for a failure that
	// is not Answered.
	GRPC   bool
	Code   codes.Code
	Status int
	// Headers are an answer's; may be nil.
	Headers Headers
	// Pushback is what a gRPC server said of retries.
	Pushback Pushback
}
