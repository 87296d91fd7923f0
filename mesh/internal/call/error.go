package call

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The sentinels; package mesh exports them.
var (
	ErrNoRoute     = errors.New("no route")
	ErrNoEndpoints = errors.New("no endpoints")
	ErrUnavailable = errors.New("unavailable")
	ErrOverloaded  = errors.New("overloaded")
	ErrClosed      = errors.New("mesh is closed")
)

// Error is a call that the mesh refused itself.
type Error struct {
	// Kind is one of the sentinels.
	Kind error
	// Code is the status of a gRPC call that ends so.
	Code codes.Code
	// Target is what the caller named.
	Target string
	// Err is the cause, and most of the text.
	Err error
}

func (e *Error) Error() string { return "weft: " + e.Target + ": " + e.Err.Error() }

// Is reports whether target is the error's sentinel.
func (e *Error) Is(target error) bool { return target == e.Kind }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// GRPCStatus makes the error a status of its code under gRPC.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Error()) }
