package filter

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/types/known/anypb"
)

// Registry knows the kinds of filters that there are, by the types of their
// configurations. It is immutable, but for Close. A nil *Registry knows none.
type Registry struct {
	kinds    []Kind
	byType   map[string]*registered
	services Services // nil for none
}

// registered is a kind, which need not be comparable.
type registered struct{ Kind }

// NewRegistry returns a registry of the kinds. It fails if two are of one type.
func NewRegistry(kinds ...Kind) (*Registry, error) {
	r := &Registry{kinds: kinds, byType: make(map[string]*registered)}
	for _, k := range kinds {
		one := &registered{k}
		if len(k.Types()) == 0 {
			return nil, fmt.Errorf("filter: a kind (%T) of no type", k)
		}
		for _, url := range k.Types() {
			name := TypeName(url)
			switch {
			case name == "":
				return nil, fmt.Errorf("filter: %q is not the name of a type", url)
			case r.byType[name] != nil:
				return nil, fmt.Errorf("filter: there are two kinds of type %s", name)
			}
			r.byType[name] = one
		}
	}
	return r, nil
}

// Knows reports whether there is a kind for configurations of the type.
func (r *Registry) Knows(typeURL string) bool {
	return r != nil && r.byType[TypeName(typeURL)] != nil
}

// Place is where a configuration stands.
type Place struct {
	// Override says that it is in a route configuration's typed_per_filter_config.
	Override bool
	// Warn is told which fields, by their path in the configuration, are set and not
	// acted on. Nil drops them.
	Warn func(field string)

	depth int // of configurations within others
}

// maxDepth bounds how deep configurations stand within others (gRFC A103).
const maxDepth = 8

// Parse reads a configuration.
func (r *Registry) Parse(a *anypb.Any, at Place) (*Parsed, error) {
	url, fields, err := unwrap(a)
	if err != nil {
		return nil, err
	}
	if at.depth >= maxDepth {
		return nil, fmt.Errorf("filters stand within others more than %d deep", maxDepth)
	}
	if !r.Knows(url) {
		return nil, fmt.Errorf("%w %s", ErrUnknownType, url)
	}
	kind := r.byType[TypeName(url)]
	value, err := kind.Parse(&Config{
		TypeURL: url, Override: at.Override,
		message: a, fields: fields, registry: r, at: at,
	})
	if err != nil {
		return nil, err
	}
	return &Parsed{kind: kind, typeURL: url, value: value}, nil
}

// ErrUnknownType is the error for a configuration of a type that no kind has.
var ErrUnknownType = errors.New("filter of unknown type")

// Close closes the kinds that can be closed.
func (r *Registry) Close() error {
	var errs []error
	for _, k := range r.kinds {
		if c, ok := k.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// Parsed is a configuration or an override that was read. It is immutable.
type Parsed struct {
	kind    *registered
	typeURL string
	value   any
}

// TypeURL is the configuration's type.
func (p *Parsed) TypeURL() string { return p.typeURL }

// Matcher returns the matcher that the configuration is one of; nil if it is a filter's.
func (p *Parsed) Matcher() Matcher {
	m, _ := p.value.(Matcher)
	return m
}

// New makes the filter that the configuration asks for on a route with these
// overrides, the least specific first; nil if it asks for nothing.
func (p *Parsed) New(overrides []*Parsed) (Filter, error) {
	var values []any
	for _, o := range overrides {
		if o.kind != p.kind {
			return nil, fmt.Errorf("is of type %s, which cannot override %s", o.typeURL, p.typeURL)
		}
		values = append(values, o.value)
	}
	return p.kind.New(p.value, values)
}
