package resolver

import (
	"errors"
	"slices"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resolver/xds"
	"github.com/weft-mesh/weft/security"
)

// The type URLs of the resources that tables are made of.
const (
	ListenerURL    = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteConfigURL = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	ClusterURL     = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointsURL   = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	SecretURL      = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	ExtensionURL   = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
)

// TypesConfig is what the decoders need beside the resources.
type TypesConfig struct {
	// Warnings collects the fields that are set and not acted on. Nil drops them.
	Warnings *Warnings

	// Providers are where the certificates of policy come from, by the name of the
	// instance or of the SDS secret. Without the ones that a cluster names, its
	// connections fail.
	Providers *security.Providers

	// Trusted says that every server may change what decides on security, such as the
	// authority of gRPC calls (gRFC A81, server feature trusted_xds_server).
	Trusted bool

	// Servers says that the process may serve, so that listeners which are not for
	// clients are read, and refused if they are bad (gRFC A36). Else they are accepted
	// as they are, since a source may have all that there is of them, and not served.
	Servers bool

	// NodeCluster is the cluster that the process says it is of (node.cluster), which the
	// descriptors of rate limits may name (source_cluster).
	NodeCluster string

	// Filters are the kinds of HTTP filters that there are. Nil means none.
	Filters *filter.Registry
}

// Types returns the decoders of the resources that tables are made of, for the
// Types of an [xds.Config] or for [NewStatic]. What they decode to is for a
// [Resolver], and opaque to others.
//
// An error says which field of the resource is bad, as in
//
//	virtual_hosts[0].routes[2].match.safe_regex.regex: bad regex: ...
//
// A field that is good and not acted on is a warning, unless leaving it out could
// weaken security or send a call to a place where it must not go. The resource is
// then refused; or, where that would take the good part of policy along, just the
// route, cluster or connection that has the field fails.
func Types(c TypesConfig) []xds.ResourceType {
	decode := func(f func(TypesConfig, []byte) (string, any, error)) func([]byte) (string, any, error) {
		return func(raw []byte) (string, any, error) {
			name, value, err := f(c, raw)
			if err == nil && name == "" {
				return "", nil, errors.New("the resource has no name")
			}
			return name, value, err
		}
	}
	return []xds.ResourceType{
		{URL: ListenerURL, Name: "Listener", AllRequiredInSotW: true, Decode: decode(decodeListener)},
		{URL: RouteConfigURL, Name: "RouteConfiguration", Decode: decode(decodeRouteConfig)},
		{URL: ClusterURL, Name: "Cluster", AllRequiredInSotW: true, Decode: decode(decodeCluster)},
		{URL: EndpointsURL, Name: "ClusterLoadAssignment", Decode: decode(new(assignmentMemory).decode)},
		{URL: SecretURL, Name: "Secret", Decode: decode(decodeSecret)},
		{URL: ExtensionURL, Name: "TypedExtensionConfig", Decode: decode(decodeExtension)},
	}
}

// secret is a Secret as it came: none is used yet, as certificates come from
// providers.
type secret struct{ raw []byte }

func decodeSecret(_ TypesConfig, raw []byte) (string, any, error) {
	var m tlsv3.Secret
	if err := proto.Unmarshal(raw, &m); err != nil {
		return "", nil, err
	}
	return m.GetName(), secret{slices.Clone(raw)}, nil
}
