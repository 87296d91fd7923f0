package grpctransport

import (
	"fmt"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/jwt"

	"github.com/weft-mesh/weft/resolver/xds"
)

// Credentials are the options that secure a channel as the bootstrap says of its
// server, and a function that frees what they hold. logger may be nil.
func Credentials(config xds.ServerConfig, logger *slog.Logger) ([]grpc.DialOption, func(), error) {
	creds, release, err := channelCredentials(config.Channel, logger)
	if err != nil {
		return nil, nil, err
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(creds)}
	for _, file := range config.JWTFiles {
		token, err := jwt.NewTokenFileCallCredentials(file)
		if err != nil {
			release()
			return nil, nil, fmt.Errorf("jwt_token_file: %w", err)
		}
		options = append(options, grpc.WithPerRPCCredentials(token))
	}
	return options, release, nil
}
