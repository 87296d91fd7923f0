package xds

import (
	"runtime/debug"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
)

// clientFeatures tell a server what this client can do. Overprovisioning is
// implemented, so that "envoy.lb.does_not_support_overprovisioning", which gRPC
// sends, is not among them.
var clientFeatures = []string{
	"xds.config.resource-in-sotw",      // SotW resources may come in a Resource wrapper
	"xds.config.supports-resource-ttl", // and any may have a time to live
}

// introduce completes the node with what is the client's to say.
func introduce(node *corev3.Node) *corev3.Node {
	n := &corev3.Node{}
	if node != nil {
		n = proto.CloneOf(node)
	}
	if n.UserAgentName == "" {
		n.UserAgentName = "weft"
		n.UserAgentVersionType = &corev3.Node_UserAgentVersion{UserAgentVersion: version()}
	}
	for _, f := range clientFeatures {
		if !slices.Contains(n.ClientFeatures, f) {
			n.ClientFeatures = append(n.ClientFeatures, f)
		}
	}
	return n
}

// version is the version of Weft that the program was built with.
func version() string {
	const module = "github.com/weft-mesh/weft"
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Path == module && info.Main.Version != "" {
			return info.Main.Version
		}
		for _, d := range info.Deps {
			if d.Path == module {
				return d.Version
			}
		}
	}
	return "(devel)"
}
