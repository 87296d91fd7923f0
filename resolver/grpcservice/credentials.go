package grpcservice

import (
	"errors"
	"fmt"
	"strings"

	accesstokenv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/grpc_service/call_credentials/access_token/v3"
	insecurev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/grpc_service/channel_credentials/insecure/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/grpc_service/channel_credentials/tls/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/security"
)

// credentials takes the first credentials of a kind that is known. The key says which
// they are, for channels to be shared.
func (s *Services) credentials(list []*anypb.Any) (key string, options []grpc.DialOption, err error) {
	var types []string
	for i, one := range list {
		switch {
		case one.MessageIs((*insecurev3.InsecureCredentials)(nil)):
			return "insecure", []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, nil
		case one.MessageIs((*tlsv3.TlsCredentials)(nil)):
			var m tlsv3.TlsCredentials
			if err := one.UnmarshalTo(&m); err != nil {
				return "", nil, fmt.Errorf("[%d]: %w", i, err)
			}
			client, err := s.tls(&m)
			if err != nil {
				return "", nil, fmt.Errorf("[%d].%w", i, err)
			}
			key := fmt.Sprintf("tls %q %q", m.GetRootCertificateProvider().GetInstanceName(), m.GetIdentityCertificateProvider().GetInstanceName())
			return key, []grpc.DialOption{grpc.WithTransportCredentials(client.Credentials())}, nil
		}
		types = append(types, filter.TypeName(one.GetTypeUrl()))
	}
	if len(list) == 0 {
		return "", nil, errors.New(": must have an entry (gRFC A102), InsecureCredentials if plaintext is meant")
	}
	return "", nil, fmt.Errorf(": none of %s is supported", strings.Join(types, ", "))
}

// tls secures by TLS, with the server's certificate for the name that is dialled.
func (s *Services) tls(m *tlsv3.TlsCredentials) (*security.ClientTLS, error) {
	if s.config.Providers == nil {
		return nil, errors.New("root_certificate_provider: there are no certificate providers here")
	}
	config := security.ClientTLSConfig{AutoSNI: true, AutoSAN: true}
	var err error
	if config.Roots, err = s.config.Providers.Roots(m.GetRootCertificateProvider().GetInstanceName()); err != nil {
		return nil, fmt.Errorf("root_certificate_provider: %w", err)
	}
	if identity := m.GetIdentityCertificateProvider(); identity != nil {
		if config.Identity, err = s.config.Providers.Identity(identity.GetInstanceName()); err != nil {
			return nil, fmt.Errorf("identity_certificate_provider: %w", err)
		}
	}
	return security.NewClientTLS(config)
}

// noCallCredentials refuses the call credentials that gRFC A102 would have applied.
// Others, which nobody knows, are left out.
func noCallCredentials(list []*anypb.Any) error {
	for i, one := range list {
		if one.MessageIs((*accesstokenv3.AccessTokenCredentials)(nil)) {
			return fmt.Errorf("google_grpc.call_credentials_plugin[%d]: access tokens are not supported", i)
		}
	}
	return nil
}
