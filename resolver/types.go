package resolver

import (
	"github.com/weft-mesh/weft/resolver/xds"
)

// The type URLs of the resources that tables are made of.
const (
	ListenerURL    = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteConfigURL = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	ClusterURL     = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointsURL   = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	SecretURL      = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// TypesConfig is what the decoders need beside the resources.
type TypesConfig struct {
	// Warnings collects the fields that are set and not acted on. Nil drops them.
	Warnings *Warnings
	// Providers security.Providers, once security has it: nil refuses every TLS cluster
}

// Types returns the decoders of the resources that tables are made of.
func Types(c TypesConfig) []xds.ResourceType { return nil }
