package resolver

import "errors"

// Errors that a caller may want to tell apart; found with [errors.Is]. Those about
// resources that cannot be had are the source's: xds.ErrNotFound and
// xds.ErrUnavailable.
var (
	// ErrNoRoute says that a table has no virtual host or no route for a request.
	ErrNoRoute = errors.New("no route")

	// ErrUnsupported says that policy asks for something that this version cannot
	// do and that must not be left out.
	ErrUnsupported = errors.New("not supported")

	// ErrClosed says that the resolver was closed.
	ErrClosed = errors.New("resolver is closed")
)
