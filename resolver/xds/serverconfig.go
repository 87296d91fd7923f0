package xds

import (
	"fmt"

	"github.com/weft-mesh/weft/security"
)

// ServerConfig is one control plane and how to talk to it. Two that are equal in
// every field share a stream.
type ServerConfig struct {
	// URI is the address as the transport understands it: for gRPC a target such
	// as "istiod.istio-system:15012" or "unix:///run/xds.sock".
	URI string

	// Channel secures the connection. Its zero value is refused, so that plaintext
	// is always said and never left out.
	Channel ChannelCreds

	// JWTFiles are files with a token each, sent as "authorization: Bearer" with
	// every stream (gRFC A97). They need a secure channel.
	JWTFiles []string

	// Protocol is the form of ADS. Zero tries delta first.
	Protocol Protocol

	// FailOnDataErrors drops a resource that was accepted when the server deletes
	// it, refuses it, or sends a bad version of it. Otherwise it is kept and the
	// watchers hear an ambient error (gRFC A88, server feature fail_on_data_errors).
	FailOnDataErrors bool

	// ResourceTimerIsTransientFailure says that the server tells of resources that
	// do not exist, so that one which does not come means a slow server: after
	// twice the usual time watchers hear [ErrUnavailable] in place of [ErrNotFound]
	// (gRFC A88, server feature resource_timer_is_transient_failure).
	ResourceTimerIsTransientFailure bool

	// Trusted lets the server change what decides on security, such as the
	// authority of a call (gRFC A81, server feature trusted_xds_server). The
	// client only carries it.
	Trusted bool
}

// Protocol is a form of the aggregated discovery service.
type Protocol int

// The forms of ADS.
const (
	// ProtocolAuto is delta, and state of the world with a server that answers
	// UNIMPLEMENTED.
	ProtocolAuto Protocol = iota
	// ProtocolDelta is incremental xDS, DeltaAggregatedResources.
	ProtocolDelta
	// ProtocolSotW is the state of the world, StreamAggregatedResources.
	ProtocolSotW
)

func (p Protocol) String() string {
	switch p {
	case ProtocolDelta:
		return "delta"
	case ProtocolSotW:
		return "sotw"
	default:
		return "auto"
	}
}

// ChannelCreds secure a connection: a type by its name in the bootstrap
// (gRFC A27), with that type's parameters.
type ChannelCreds struct {
	// Type is "insecure" or "tls".
	Type string
	// TLS are the files of "tls" (gRFC A65). Without authorities the system's are
	// trusted, without a certificate none is presented.
	TLS security.FileWatcherConfig
}

// The types of [ChannelCreds].
const (
	CredsInsecure = "insecure"
	CredsTLS      = "tls"
)

func (s ServerConfig) String() string { return s.URI }

// key is the same for two configurations that may share a stream.
func (s ServerConfig) key() string {
	type plain ServerConfig // without String
	return fmt.Sprintf("%#v", plain(s))
}
