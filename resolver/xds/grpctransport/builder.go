package grpctransport

import (
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/weft-mesh/weft/resolver/xds"
)

// Builder makes transports over gRPC. The zero value is ready to use.
type Builder struct {
	// MaxMessageSize is the size in bytes up to which a response is read; a stream
	// with a larger one fails. Zero means 256 MiB: state-of-the-world responses
	// are far larger than gRPC's default of 4 MiB.
	MaxMessageSize int

	// Keepalive is how long a connection may be silent before the server is
	// pinged, and 20 s later given up. Zero means 5 minutes, the most frequent that
	// gRPC servers tolerate by default.
	Keepalive time.Duration

	// Logger hears of certificate files that cannot be read. Nil is slog's default.
	Logger *slog.Logger

	// DialOptions come after Weft's own and so override them, the credentials of
	// the server's configuration excepted.
	DialOptions []grpc.DialOption
}

const (
	defaultMaxMessageSize = 256 << 20
	defaultKeepalive      = 5 * time.Minute
	keepaliveTimeout      = 20 * time.Second
)

// Build returns a transport to the server. It fails if the credentials cannot be
// made: a type that is not known, or certificate files that do not make sense
// together. Files that are missing fail the streams instead, until they are there.
func (b Builder) Build(config xds.ServerConfig) (xds.Transport, error) {
	creds, release, err := Credentials(config, b.Logger)
	if err != nil {
		return nil, fmt.Errorf("xds server %s: %w", config.URI, err)
	}
	maxSize, interval := b.MaxMessageSize, b.Keepalive
	if maxSize <= 0 {
		maxSize = defaultMaxMessageSize
	}
	if interval <= 0 {
		interval = defaultKeepalive
	}
	options := []grpc.DialOption{
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: interval, Timeout: keepaliveTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxSize), grpc.ForceCodecV2(rawCodec{})),
		grpc.WithDisableServiceConfig(), // what a TXT record says must not change how policy arrives
	}
	options = append(options, b.DialOptions...)
	options = append(options, creds...)
	t := &transport{target: config.URI, options: options, release: release}
	if t.conn, err = grpc.NewClient(t.target, t.options...); err != nil {
		release()
		return nil, fmt.Errorf("xds server %s: %w", config.URI, err)
	}
	return t, nil
}
