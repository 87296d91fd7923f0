package balancer

import (
	"errors"
	"fmt"
)

// The errors of View.Pick that a caller would tell apart; see also UnreachableError.
var (
	// ErrNoEndpoints: the cluster has no endpoint that may get calls.
	ErrNoEndpoints = errors.New("no endpoints")

	// ErrConnecting: there is nothing to pick yet, but there may soon be. Wait for
	// ViewOptions.Changed and pick again.
	ErrConnecting = errors.New("connecting")

	// ErrExcluded: all endpoints that could be picked are in PickInfo.Exclude.
	ErrExcluded = errors.New("every endpoint has been tried")

	// ErrUnsent is the Outcome.Err of a Pick that nothing was sent over.
	ErrUnsent = errors.New("nothing was sent")

	// ErrDropped: policy has this call refused (EDS drop_overloads). The error is
	// a *DropError.
	ErrDropped = errors.New("dropped by policy")
)

// UnreachableError says that no endpoint of a cluster can be connected to.
type UnreachableError struct {
	Cluster string
	// Last is the latest connection error of one of the endpoints.
	Last error
}

// Error names the cluster and the last error.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("cluster %q: no endpoint can be reached; last error: %v", e.Cluster, e.Last)
}

// Unwrap returns Last.
func (e *UnreachableError) Unwrap() error { return e.Last }

// DropError says by which category of EDS drop_overloads a call was refused. It is
// an ErrDropped to errors.Is.
type DropError struct {
	Cluster, Category string
}

// Error names the cluster and the category.
func (e *DropError) Error() string {
	return fmt.Sprintf("cluster %q: %v (drop_overloads category %q)", e.Cluster, ErrDropped, e.Category)
}

// Is reports whether target is ErrDropped.
func (e *DropError) Is(target error) bool { return target == ErrDropped }
