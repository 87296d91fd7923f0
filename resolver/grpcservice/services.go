package grpcservice

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resolver/xds"
	"github.com/weft-mesh/weft/resolver/xds/grpctransport"
	"github.com/weft-mesh/weft/security"
)

// Config is who may name services, and what secures them. The zero value allows none.
type Config struct {
	// Trusted says that policy may name any service (gRFC A81's trusted_xds_server).
	Trusted bool
	// Allowed are the services that policy may name if it is not trusted, by target URI.
	Allowed map[string]xds.ServerConfig
	// Providers are where the certificates of TlsCredentials come from. Nil has none.
	Providers *security.Providers
	// Logger hears of certificate files that cannot be read. Nil is slog's default.
	Logger *slog.Logger
}

// Services are the services of one mesh. It implements [filter.Services].
type Services struct {
	config Config

	mu       sync.Mutex
	closed   bool
	channels map[channelKey]*channel
}

// channelKey is what channels are shared by.
type channelKey struct{ target, creds string }

// channel is a channel and how many services use it, guarded by Services.mu.
type channel struct {
	conn    *grpc.ClientConn
	release func()
	users   int
}

// New returns services that connect when they are first asked.
func New(c Config) *Services {
	return &Services{config: c, channels: map[channelKey]*channel{}}
}

var errClosed = errors.New("the mesh is closed")

// Service implements [filter.Services].
func (s *Services) Service(m *corev3.GrpcService) (filter.Service, error) {
	google := m.GetGoogleGrpc()
	switch {
	case m.GetEnvoyGrpc() != nil:
		return nil, errors.New("envoy_grpc: not supported (gRFC A102); use google_grpc")
	case google == nil:
		return nil, errors.New("google_grpc: must be set")
	case google.GetTargetUri() == "":
		return nil, errors.New("google_grpc.target_uri: must not be empty")
	case strings.HasPrefix(google.GetTargetUri(), "xds:"):
		return nil, fmt.Errorf("google_grpc.target_uri: %q: services are not called through the mesh yet", google.GetTargetUri())
	}
	one := &service{}
	var err error
	if one.timeout, err = timeout(m.GetTimeout()); err != nil {
		return nil, fmt.Errorf("timeout: %w", err)
	}
	if one.metadata, err = initialMetadata(m.GetInitialMetadata()); err != nil {
		return nil, err
	}
	key := channelKey{target: google.GetTargetUri()}
	secure := func() ([]grpc.DialOption, func(), error) {
		return grpctransport.Credentials(s.config.Allowed[key.target], s.config.Logger)
	}
	if s.config.Trusted {
		var options []grpc.DialOption
		if key.creds, options, err = s.credentials(google.GetChannelCredentialsPlugin()); err != nil {
			return nil, fmt.Errorf("google_grpc.channel_credentials_plugin%w", err)
		}
		if err := noCallCredentials(google.GetCallCredentialsPlugin()); err != nil {
			return nil, err
		}
		secure = func() ([]grpc.DialOption, func(), error) { return options, func() {}, nil }
	} else if _, ok := s.config.Allowed[key.target]; !ok {
		return nil, fmt.Errorf("google_grpc.target_uri: %q is not allowed: the control plane is not trusted (trusted_xds_server), and the bootstrap's allowed_grpc_services does not have it", key.target)
	}
	if one.conn, err = s.acquire(key, secure); err != nil {
		return nil, fmt.Errorf("google_grpc.target_uri: %w", err)
	}
	runtime.AddCleanup(one, s.leave, key)
	return one, nil
}

// acquire returns the channel of a key, made with what secure returns if it is new.
func (s *Services) acquire(key channelKey, secure func() ([]grpc.DialOption, func(), error)) (*grpc.ClientConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	ch := s.channels[key]
	if ch == nil {
		options, release, err := secure()
		if err != nil {
			return nil, err
		}
		conn, err := grpc.NewClient(key.target, options...)
		if err != nil {
			release()
			return nil, err
		}
		ch = &channel{conn: conn, release: release}
		s.channels[key] = ch
	}
	ch.users++
	return ch.conn, nil
}

// leave is called for a service that nothing refers to any more.
func (s *Services) leave(key channelKey) {
	s.mu.Lock()
	ch := s.channels[key]
	if ch == nil {
		s.mu.Unlock()
		return // closed
	}
	ch.users--
	last := ch.users == 0
	if last {
		delete(s.channels, key)
	}
	s.mu.Unlock()
	if last {
		ch.close()
	}
}

func (c *channel) close() {
	_ = c.conn.Close()
	c.release()
}

// Close ends what is under way and fails what comes.
func (s *Services) Close() {
	s.mu.Lock()
	all := s.channels
	s.channels, s.closed = nil, true
	s.mu.Unlock()
	for _, ch := range all {
		ch.close()
	}
}

// timeout reads GrpcService.timeout; zero for none.
func timeout(d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, err
	}
	if d.AsDuration() <= 0 {
		return 0, errors.New("must be positive")
	}
	return d.AsDuration(), nil
}

// maxMetadata bounds names and values, in bytes (gRFC A102).
const maxMetadata = 16384

func initialMetadata(list []*corev3.HeaderValue) (metadata.MD, error) {
	md := metadata.MD{}
	for i, h := range list {
		key, value := strings.ToLower(h.GetKey()), h.GetValue()
		binary := strings.HasSuffix(key, "-bin")
		if binary && len(h.GetRawValue()) > 0 {
			value = string(h.GetRawValue())
		}
		switch {
		case key == "" || len(key) >= maxMetadata || key == "host" || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "":
			return nil, fmt.Errorf("initial_metadata[%d].key: %.64q is not the name of a header to send", i, h.GetKey())
		case len(value) >= maxMetadata:
			return nil, fmt.Errorf("initial_metadata[%d].value: is %d bytes long, not less than %d", i, len(value), maxMetadata)
		case !binary && strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
			return nil, fmt.Errorf("initial_metadata[%d].value: must be printable ASCII", i)
		}
		md.Append(key, value)
	}
	return md, nil
}
