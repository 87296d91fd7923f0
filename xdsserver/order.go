package xdsserver

import (
	"slices"

	"github.com/weft-mesh/weft/xdsserver/policy"
)

// The order in which a stream is told of a change, so that a client never learns
// of a name before what stands behind it, and loses nothing that it still refers to
// (make before break, "Eventual consistency considerations" of the xDS protocol):
// what routes lead to is sent first, then listeners and routes, and only then is
// told what is gone. Types that are not in the list are taken for something that
// the others refer to.
//
// Listeners have no second part. Nothing refers to a listener, and one that takes
// over the address of another is refused by Envoy for as long as the other is there.
var (
	makeOrder = []string{
		policy.SecretType, policy.ExtensionType, policy.ClusterType, policy.EndpointType, policy.ListenerType, policy.RouteType,
	}
	breakOrder = []string{
		policy.RouteType, policy.ClusterType, policy.EndpointType, policy.ExtensionType, policy.SecretType,
	}
)

var knownTypes = func() map[string]string {
	m := make(map[string]string)
	for _, typeURL := range makeOrder {
		m[typeURL] = typeURL
	}
	return m
}()

func makeRank(typeURL string) int { return slices.Index(makeOrder, typeURL) }

func breakRank(typeURL string) int {
	if i := slices.Index(breakOrder, typeURL); i >= 0 {
		return i
	}
	return len(breakOrder)
}

// isRoot tells the types that nothing else names: a client may ask for all of
// them, and a state-of-the-world response has to hold all of them.
func isRoot(typeURL string) bool {
	return typeURL == policy.ListenerType || typeURL == policy.ClusterType
}
