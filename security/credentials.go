package security

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc/credentials"
)

// Credentials returns c as the credentials of a gRPC channel. The host of the
// channel's authority (of the address, where that has a server name of its own) is
// the endpoint's name. A server must agree on HTTP/2, unless policy has protocols
// of its own.
func (c *ClientTLS) Credentials() credentials.TransportCredentials {
	return grpcCredentials{c}
}

type grpcCredentials struct{ tls *ClientTLS }

func (g grpcCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = authority // without a port
	}
	secured, err := g.tls.Handshake(ctx, conn, host, []string{"h2"})
	if err != nil {
		return nil, nil, err
	}
	state := secured.(*tls.Conn).ConnectionState()
	if state.NegotiatedProtocol == "" && len(g.tls.config.ALPN) == 0 {
		// Without ALPN, what was sent to an HTTP/1.1 server could be taken for
		// requests of another kind.
		secured.Close()
		return nil, nil, fmt.Errorf("security: server %s did not agree on HTTP/2 (ALPN h2)", conn.RemoteAddr())
	}
	return secured, credentials.TLSInfo{
		State:          state,
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		SPIFFEID:       spiffeID(state),
	}, nil
}

func (g grpcCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("security: client credentials used by a server")
}

func (g grpcCredentials) Info() credentials.ProtocolInfo {
	// No ServerName: gRPC would make it the authority of every call.
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (g grpcCredentials) Clone() credentials.TransportCredentials { return g }

// OverrideServerName is refused: the name is policy's to say.
func (g grpcCredentials) OverrideServerName(string) error {
	return errors.New("security: the server name is set by policy")
}
