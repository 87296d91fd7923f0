package filter

// Kind is one kind of filter. Its methods are called from several goroutines. One that
// is an io.Closer is closed with its mesh.
//
// State that calls share, such as a bucket of tokens, belongs to what Parse returns: it
// then lives as long as the resource with the configuration does, over all tables that
// are made with it, as in Envoy.
type Kind interface {
	// Types are the types of its configurations and overrides, by which policy names
	// the kind: "envoy.extensions.filters.http.fault.v3.HTTPFault". What stands before
	// the last slash, as in a type URL, does not count.
	Types() []string

	// Parse reads a configuration, or an override, once for the resource that it
	// stands in. The error refuses the resource, and is best one that says which field
	// is bad. What it returns is never nil and passed to New.
	Parse(c *Config) (any, error)

	// New makes the filter of a route: from the listener's configuration, and the
	// overrides that apply to the route, the least specific first. Mostly, only the
	// last counts. A nil Filter has no part in the route's calls. An error fails them.
	New(config any, overrides []any) (Filter, error)
}

// Of returns the kind of a type of configuration, for which build makes the filter. C
// is a pointer to a protobuf message, or a struct into which encoding/json decodes the
// value of a TypedStruct; fields that it does not have are errors.
//
// build is called when the resource is read, and its error refuses the resource. The
// override that is most specific takes the place of the configuration.
func Of[C any](typeURL string, build func(C) (Filter, error)) Kind {
	return kindOf[C]{typeURL, build}
}

type kindOf[C any] struct {
	typeURL string
	build   func(C) (Filter, error)
}

func (k kindOf[C]) Types() []string { return []string{k.typeURL} }

// built is a filter; nil if there is nothing for it to do.
type built struct{ Filter }

func (k kindOf[C]) Parse(c *Config) (any, error) {
	v, err := decode[C](c)
	if err != nil {
		return nil, err
	}
	f, err := k.build(v)
	return built{f}, err
}

func (k kindOf[C]) New(config any, overrides []any) (Filter, error) {
	if n := len(overrides); n > 0 {
		config = overrides[n-1]
	}
	return config.(built).Filter, nil
}
