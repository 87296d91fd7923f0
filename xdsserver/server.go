package xdsserver

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/xdsserver/policy"
	"github.com/weft-mesh/weft/xdsserver/store"
)

// Options configures a [Server]. The zero value is useful.
type Options struct {
	// Logger receives what an operator should know: rejected responses, refused
	// streams. Nil means slog.Default().
	Logger *slog.Logger

	// MaxStreams bounds the streams at one time; further ones are refused with
	// RESOURCE_EXHAUSTED. Zero means no bound.
	MaxStreams int

	// MaxSubscriptionBytes bounds the names that one stream may be subscribed to, in
	// bytes: each counts its length and 64 more. A stream that wants more ends with
	// RESOURCE_EXHAUSTED. Zero means 16 MiB, some 150,000 names.
	MaxSubscriptionBytes int

	// MaxRequestBytes bounds one request on a connection accepted by Serve. A longer
	// one ends its stream with RESOURCE_EXHAUSTED. Zero means 4 MiB.
	MaxRequestBytes int

	// ServerOptions are for the gRPC server that Serve runs, such as its transport
	// credentials. Without credentials Serve speaks plaintext. They come after the
	// options that Serve sets itself, and so override them.
	ServerOptions []grpc.ServerOption
}

// Server serves xDS v3 from the resources that were last applied. It is safe for
// concurrent use. Create it with [New] and end it with [Server.Drain] or
// [Server.Close].
type Server struct {
	opts  Options
	log   *slog.Logger
	store *store.Store

	// patience is how long a client that connects may take to answer before it is told
	// of what is gone.
	patience time.Duration

	receivers sync.WaitGroup

	mu       sync.Mutex
	streams  map[*stream]struct{}
	nextID   uint64
	draining bool
	idle     chan struct{} // closed when draining and the last stream has ended
	running  map[*grpc.Server]*health.Server
}

// New returns a server that serves nothing yet: until the first [Server.Apply]
// clients may connect and subscribe, and wait.
func New(opts Options) *Server {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.MaxSubscriptionBytes == 0 {
		opts.MaxSubscriptionBytes = 16 << 20
	}
	if opts.MaxRequestBytes == 0 {
		opts.MaxRequestBytes = 4 << 20
	}
	return &Server{
		opts:     opts,
		log:      opts.Logger,
		store:    store.New(),
		patience: time.Second,
		streams:  make(map[*stream]struct{}),
		idle:     make(chan struct{}),
		running:  make(map[*grpc.Server]*health.Server),
	}
}

// Apply replaces all that is served. Each client is told what changed for it. It
// returns when the resources are in force, and waits for no client. An error means
// that there is a resource that cannot be served; nothing has changed then.
func (s *Server) Apply(resources *policy.Resources) error {
	var entries []store.Entry
	for r := range resources.All() {
		entries = append(entries, store.Entry(*r))
	}
	change, err := s.store.Apply(entries)
	if err != nil {
		return err
	}
	added, changed, removed := change.Count()
	s.log.Debug("resources applied", "version", s.Version(), "added", added, "changed", changed, "removed", removed)
	return nil
}

// Version identifies the resources that are served now: the same resources have
// the same version in every process. It is empty before the first Apply.
func (s *Server) Version() string { return s.store.Current().Version() }

// ErrClosed is what Serve returns on a server that was drained or closed before.
var ErrClosed = errors.New("xdsserver: server closed")

// Serve accepts connections on l, serves xDS and gRPC health checks on them, and
// returns when the server is drained or closed, with nil, or when l fails. It
// closes l.
func (s *Server) Serve(l net.Listener) error {
	gs := grpc.NewServer(append([]grpc.ServerOption{
		grpc.ForceServerCodecV2(Codec()),
		grpc.MaxRecvMsgSize(s.opts.MaxRequestBytes),
		grpc.MaxConcurrentStreams(1000),
		// A client that vanished without a word is noticed within a minute.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 40 * time.Second, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}, s.opts.ServerOptions...)...)
	s.Register(gs)
	healthy := health.NewServer()
	grpc_health_v1.RegisterHealthServer(gs, healthy)

	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		_ = l.Close()
		return ErrClosed
	}
	s.running[gs] = healthy
	s.mu.Unlock()
	defer func() {
		gs.Stop()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.running, gs)
	}()
	return gs.Serve(l)
}

// admit makes a stream known, or refuses it.
func (s *Server) admit(st *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return errDraining
	case s.opts.MaxStreams > 0 && len(s.streams) >= s.opts.MaxStreams:
		s.log.Warn("stream refused", "streams", len(s.streams))
		return status.Errorf(codes.ResourceExhausted, "the server has %d streams already", len(s.streams))
	}
	s.nextID++
	st.id = s.nextID
	st.place = s.store.Subscriber()
	st.client.Delta, st.client.Since = st.delta, time.Now()
	if p, ok := peer.FromContext(st.grpc.Context()); ok {
		st.client.Address = p.Addr.String()
	}
	s.streams[st] = struct{}{}
	return nil
}

func (s *Server) dismiss(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
	if s.draining && len(s.streams) == 0 {
		close(s.idle)
	}
}
