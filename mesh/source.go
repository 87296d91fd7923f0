package mesh

import "github.com/weft-mesh/weft/resolver"

// source is where a mesh's resources come from.
type source struct {
	resources resolver.Source
	names     names
	// status says in a few words what is wrong with the source; empty when nothing is.
	status func() string
	// close stops the source and what feeds it.
	close func()
}
