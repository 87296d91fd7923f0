package balancer

// State is the state of a connection, in gRPC's words
// (https://github.com/grpc/grpc/blob/master/doc/connectivity-semantics-and-api.md).
type State int

// The states.
const (
	// Idle: nothing is connected, and nothing tries to.
	Idle State = iota
	// Connecting: an attempt is under way.
	Connecting
	// Ready: calls can be sent.
	Ready
	// TransientFailure: the last attempt failed.
	TransientFailure
)

// String returns the state's name as gRPC writes it.
func (s State) String() string {
	switch s {
	case Idle:
		return "IDLE"
	case Connecting:
		return "CONNECTING"
	case Ready:
		return "READY"
	case TransientFailure:
		return "TRANSIENT_FAILURE"
	}
	return "INVALID_STATE"
}
