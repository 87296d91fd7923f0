package resolver

import "errors"

// Errors that a caller may want to tell apart; found with [errors.Is].
var (
	// ErrNoRoute says that a table has no virtual host or no route for a request.
	ErrNoRoute = errors.New("no route")

	// ErrNotFound says that a resource which the target needs does not exist.
	ErrNotFound = errors.New("resource does not exist")

	// ErrUnsupported says that policy asks for something that this version cannot
	// do and that must not be ignored.
	ErrUnsupported = errors.New("not supported")

	// ErrClosed says that the resolver, or the target, was closed.
	ErrClosed = errors.New("resolver closed")
)
