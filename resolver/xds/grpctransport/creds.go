package grpctransport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weft-mesh/weft/resolver/xds"
	"github.com/weft-mesh/weft/security"
)

// channelCredentials makes the credentials of a configuration, and a function
// that frees what they hold.
func channelCredentials(c xds.ChannelCreds, logger *slog.Logger) (credentials.TransportCredentials, func(), error) {
	switch c.Type {
	case xds.CredsInsecure:
		return insecure.NewCredentials(), func() {}, nil
	case xds.CredsTLS:
		return tlsCredentials(c.TLS, logger)
	case "":
		return nil, nil, fmt.Errorf("no channel credentials: say %q if plaintext is meant", xds.CredsInsecure)
	default:
		return nil, nil, fmt.Errorf("channel credentials %q are not supported", c.Type)
	}
}

// tlsCredentials secures connections with files that are read again when they
// change (gRFC A65). The server's certificate must be for the name in its URI.
func tlsCredentials(files security.FileWatcherConfig, logger *slog.Logger) (credentials.TransportCredentials, func(), error) {
	config := security.ClientTLSConfig{AutoSNI: true, AutoSAN: true, SystemRoots: true}
	release := func() {}
	if files.CertificateFile != "" || files.CACertificateFile != "" || files.PrivateKeyFile != "" {
		watcher, err := security.NewFileWatcher(files, logger)
		if err != nil {
			return nil, nil, err
		}
		release = func() { watcher.Close() }
		if files.CertificateFile != "" {
			config.Identity = watcher
		}
		if files.CACertificateFile != "" {
			config.Roots, config.SystemRoots = watcher, false
		}
	}
	client, err := security.NewClientTLS(config)
	if err != nil {
		release()
		return nil, nil, err
	}
	return serverTLS{client}, release, nil
}

// serverTLS is security's TLS in gRPC's words.
type serverTLS struct{ client *security.ClientTLS }

func (c serverTLS) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	host := authority
	if h, _, err := net.SplitHostPort(authority); err == nil {
		host = h
	}
	conn, err := c.client.Handshake(ctx, raw, host, []string{"h2"})
	if err != nil {
		return nil, nil, err
	}
	info := credentials.TLSInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
	if t, ok := conn.(*tls.Conn); ok {
		info.State = t.ConnectionState()
	}
	return conn, info, nil
}

func (serverTLS) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("grpctransport: a client's credentials cannot serve")
}

func (serverTLS) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (c serverTLS) Clone() credentials.TransportCredentials { return c }

func (serverTLS) OverrideServerName(string) error {
	return errors.New("grpctransport: the server's name is that in its URI")
}
