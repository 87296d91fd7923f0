package resolver

import "github.com/weft-mesh/weft/resolver/xds"

// Source is where resources come from: an *[xds.Client], or a [Static] for policy
// that is embedded in the program.
type Source interface {
	// Watch tells w about the resource of that type and name until cancel is
	// called. A call to w that is already on its way may still arrive after that.
	Watch(typeURL, name string, w xds.Watcher) (cancel func())
}
