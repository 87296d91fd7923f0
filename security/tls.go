package security

import (
	"context"
	"net"
)

// ClientTLS is how a cluster's connections are secured.
type ClientTLS struct{}

// Handshake secures conn.
func (c *ClientTLS) Handshake(ctx context.Context, conn net.Conn, serverName string, alpn []string) (net.Conn, error) {
	return nil, nil
}
