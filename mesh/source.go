package mesh

import (
	"github.com/weft-mesh/weft/resolver"
	"github.com/weft-mesh/weft/resolver/xds"
)

// source is where a mesh's resources come from.
type source struct {
	resources resolver.Source
	names     names
	// status says in a few words what is wrong with the source; empty when nothing is.
	status func() string
	// warnings are what the resources ask for and nothing acts on.
	warnings *resolver.Warnings
	xds      *xds.Client // nil if there is no control plane
	// close stops the source and what feeds it.
	close func()
}
