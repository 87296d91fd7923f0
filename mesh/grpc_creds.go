package mesh

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weft-mesh/weft/balancer/grpclb"
)

// endpointCreds secures each connection as its endpoint's cluster asks.
type endpointCreds struct {
	plain credentials.TransportCredentials // where policy asks nothing; nil is plaintext
}

var errNoEndpoint = errors.New("weft: connection to an address that the mesh's balancer did not give")

func (c endpointCreds) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	attempt := grpclb.AttemptOf(credentials.ClientHandshakeInfoFromContext(ctx).Attributes)
	if attempt == nil {
		return nil, nil, errNoEndpoint
	}
	ctx, cancel := attempt.Continue(ctx)
	defer cancel()
	e := attempt.Endpoint
	socket := e.Socket()
	switch {
	case socket.Err != nil:
		return nil, nil, socket.Err
	case socket.TLS == nil && c.plain != nil:
		return c.plain.ClientHandshake(ctx, authority, raw)
	case socket.TLS == nil:
		return insecure.NewCredentials().ClientHandshake(ctx, authority, raw)
	}
	return socket.TLS.Credentials().ClientHandshake(ctx, e.Hostname(), raw)
}

// dialEndpoint is the dialer of channels: it connects as the endpoint's cluster asks.
func dialEndpoint(ctx context.Context, address string) (net.Conn, error) {
	attempt := grpclb.AttemptOf(credentials.ClientHandshakeInfoFromContext(ctx).Attributes)
	if attempt == nil {
		return nil, errNoEndpoint
	}
	ctx, cancel := attempt.Begin(ctx)
	defer cancel()
	return attempt.Endpoint.Dial(ctx, address, nil)
}

// ServerHandshake is never called: Dial makes clients.
func (endpointCreds) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("weft: a client's credentials cannot serve")
}

// Info names no protocol that grpc would draw conclusions from: what a connection
// is depends on its endpoint.
func (endpointCreds) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "weft"}
}

func (c endpointCreds) Clone() credentials.TransportCredentials { return c }

func (endpointCreds) OverrideServerName(string) error { return nil }
