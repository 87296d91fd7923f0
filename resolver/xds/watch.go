package xds

// ResourceType is one kind of resource: how it is asked for and how it is read.
type ResourceType struct {
	// URL is the type URL, "type.googleapis.com/envoy.config.cluster.v3.Cluster".
	URL string
	// Name is what people call it, "Cluster"; used in errors and on debug pages.
	Name string
	// AllRequiredInSotW says that a state-of-the-world response lists every
	// resource of the type, so that one left out is deleted (LDS and CDS).
	AllRequiredInSotW bool
	// Decode turns the serialized resource into an immutable value. The name is
	// returned even when the resource is bad, if it can be read at all.
	Decode func(raw []byte) (name string, value any, err error)
}

// Resource is one accepted resource. It is immutable.
type Resource struct {
	Name    string
	Version string
	Value   any // what the type's Decode returned
}

// Watcher is told about one resource (gRFC A88). The calls for one watcher are
// serialized; they must not block.
type Watcher interface {
	// ResourceChanged brings a new good value.
	ResourceChanged(Resource)
	// ResourceError says that there is no usable value: the resource does not
	// exist, or has never been valid. The watcher stops using what it had.
	ResourceError(error)
	// AmbientError says that something is wrong; the watcher keeps what it has.
	AmbientError(error)
}
