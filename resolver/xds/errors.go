package xds

import (
	"errors"
	"fmt"
)

// What an [Error] can be about, where a watcher would act on it.
var (
	// ErrNotFound: the server has no such resource, or did not send it in time.
	ErrNotFound = errors.New("does not exist")
	// ErrUnavailable: the server cannot be reached or does not answer. It is tried
	// again and again; the resource may well exist.
	ErrUnavailable = errors.New("unavailable")
)

// Error says what is wrong with one resource, and according to which server.
type Error struct {
	// Type is the name of the resource's type, "Cluster".
	Type string
	// Name is the resource's name.
	Name string
	// Server is the URI of the server, empty if none serves the resource.
	Server string
	// Kind is [ErrNotFound], [ErrUnavailable], or nil for a resource that was refused.
	Kind error
	// Err is the cause; nil if there is no more to say than Kind does.
	Err error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("xds: %s %q", e.Type, e.Name)
	if e.Server != "" {
		s += " from " + e.Server
	}
	if e.Kind != nil {
		s += ": " + e.Kind.Error()
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives Kind and Err to [errors.Is] and [errors.As].
func (e *Error) Unwrap() []error {
	var errs []error
	if e.Kind != nil {
		errs = append(errs, e.Kind)
	}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}
