package resolver

import "github.com/weft-mesh/weft/resolver/xds"

// Static is a [Source] of resources that the program itself has: the embedded
// control plane.
type Static struct{}

// StaticResource is one resource as a control plane would send it.
type StaticResource struct {
	Name    string
	Version string
	Raw     []byte // serialized
}

// NewStatic returns a source without resources, which answers no watch before the
// first Set.
func NewStatic(types []xds.ResourceType) *Static { return &Static{} }

// Set replaces all resources, by type URL. Watchers hear of those that changed,
// and at once of those that do not exist. A bad resource is refused as a NACK
// would: the error names it and the last good one stays, while the others are used.
func (s *Static) Set(resources map[string][]StaticResource) error { return nil }

// Watch implements [Source].
func (s *Static) Watch(typeURL, name string, w xds.Watcher) (cancel func()) { return func() {} }
