package grpctransport

import (
	"fmt"
	"log/slog"

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
		channel, err := security.NewChannelTLS(c.TLS, logger)
		if err != nil {
			return nil, nil, err
		}
		return channel.Credentials(), func() { channel.Close() }, nil
	case "":
		return nil, nil, fmt.Errorf("no channel credentials: say %q if plaintext is meant", xds.CredsInsecure)
	default:
		return nil, nil, fmt.Errorf("channel credentials %q are not supported", c.Type)
	}
}
