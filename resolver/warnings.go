package resolver

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
)

// Warnings collects what policy asks for and this version does not act on: fields
// that are known, or unknown, and that may be ignored without sending a call to the
// wrong place or weakening its security. It is safe for concurrent use, and bounded.
type Warnings struct {
	log *slog.Logger

	mu   sync.Mutex
	seen map[warningKey]map[string]bool // to resource names
}

type warningKey struct {
	kind, field string
	fails       bool
}

const (
	maxWarnings         = 1000 // fields
	maxWarningResources = 16   // names kept per field
)

// NewWarnings returns an empty collection. The first time a field is met it is
// logged, once for all resources. Nil logs nothing.
func NewWarnings(l *slog.Logger) *Warnings {
	return &Warnings{log: l, seen: make(map[warningKey]map[string]bool)}
}

// Warning is one field that is set in some resources and not acted on.
type Warning struct {
	// Type is the resource's type, "Cluster".
	Type string
	// Field is the field's path, "virtual_hosts[].routes[].route.retry_policy".
	Field string
	// Fails says that the field could not be left out: the calls or connections
	// that depend on it fail.
	Fails bool
	// Resources are names of resources that it was seen in, sorted; at most 16.
	Resources []string
}

func (w *Warnings) add(key warningKey, resource string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	names, ok := w.seen[key]
	if !ok {
		if len(w.seen) >= maxWarnings {
			return
		}
		names = make(map[string]bool, 1)
		w.seen[key] = names
		if w.log != nil {
			message := "policy sets a field that is not acted on"
			if key.fails {
				message = "policy sets a field that is not supported: calls that depend on it fail"
			}
			w.log.Warn(message, "type", key.kind, "field", key.field, "resource", resource)
		}
	}
	if len(names) < maxWarningResources {
		names[resource] = true
	}
}

// List returns the warnings so far, sorted by type and field.
func (w *Warnings) List() []Warning {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]Warning, 0, len(w.seen))
	for key, names := range w.seen {
		resources := make([]string, 0, len(names))
		for name := range names {
			resources = append(resources, name)
		}
		slices.Sort(resources)
		list = append(list, Warning{Type: key.kind, Field: key.field, Fails: key.fails, Resources: resources})
	}
	slices.SortFunc(list, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Field, b.Field))
	})
	return list
}
