package xds

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/internal/pause"
)

// server is one control plane: what is subscribed to there, and the goroutine
// that keeps a stream to it.
type server struct {
	client *Client
	config ServerConfig
	log    *slog.Logger
	// work wakes whoever sends: the current stream's sending goroutine, or run
	// while it waits for something to ask for.
	work chan struct{}

	// Guarded by the client's mu.
	running bool
	subs    map[string]*subscription // by type URL
	// failure is why there was no answer on the last stream that ended (gRFC A57);
	// nil once there is one.
	failure   error
	connected bool
	since     time.Time // of connected
	lastErr   error
	lastErrAt time.Time
	dialect   dialect // the one spoken now or last
}

func newServer(c *Client, config ServerConfig) *server {
	return &server{
		client:  c,
		config:  config,
		log:     c.log.With(slog.String("xds_server", config.URI)),
		work:    make(chan struct{}, 1),
		subs:    make(map[string]*subscription),
		since:   time.Now(),
		dialect: dialectOf(config.Protocol),
	}
}

// subscriptionTo returns the subscription of a type. Called with mu held.
func (s *server) subscriptionTo(t ResourceType) *subscription {
	sub, ok := s.subs[t.URL]
	if !ok {
		sub = newSubscription(s, t)
		s.subs[t.URL] = sub
	}
	return sub
}

// start begins to connect, once. Called with mu held.
func (s *server) start() {
	if !s.running {
		s.running = true
		s.client.wg.Go(s.run)
	}
}

func (s *server) wake() {
	select {
	case s.work <- struct{}{}:
	default:
	}
}

// run keeps a stream to the server until the client is closed.
func (s *server) run() {
	ctx := s.client.ctx
	var transport Transport
	defer func() {
		if transport != nil {
			transport.Close()
		}
	}()
	for attempt := 0; s.awaitWork(ctx); attempt++ {
		if transport == nil {
			t, err := s.client.config.Transport.Build(s.config)
			if err != nil {
				s.ended(false, err)
				_ = pause.For(ctx, s.client.config.Backoff(attempt))
				continue
			}
			transport = t
		}
		st := &stream{server: s, dialect: s.dialect}
		err := st.run(ctx, transport)
		if s.otherDialect(st, err) {
			s.log.Info("server does not speak delta xDS; asking for the state of the world")
			attempt-- // this was none
			continue
		}
		if st.answered {
			attempt = 0
		}
		s.ended(st.answered, err)
		_ = pause.For(ctx, s.client.config.Backoff(attempt))
	}
}

// awaitWork waits until there is a resource to ask for: some control planes end
// a stream that asks for nothing. It returns false when the client is closed.
func (s *server) awaitWork(ctx context.Context) bool {
	for {
		if ctx.Err() != nil {
			return false
		}
		s.client.mu.Lock()
		var subscribed bool
		for _, sub := range s.subs {
			subscribed = subscribed || len(sub.entries) > 0
		}
		s.client.mu.Unlock()
		if subscribed {
			return true
		}
		select {
		case <-ctx.Done():
		case <-s.work:
		}
	}
}

// otherDialect chooses the other form of ADS after a server said that it does
// not know the one just tried, and reports whether to try that at once.
func (s *server) otherDialect(st *stream, err error) bool {
	if st.answered || s.config.Protocol != ProtocolAuto || status.Code(err) != codes.Unimplemented {
		return false
	}
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	if st.dialect == sotw {
		// It knows neither, or it is no control plane at all, or not yet. Delta is
		// again the first to be tried when the time for another attempt has come.
		s.dialect = delta
		s.forgetVersions()
		return false
	}
	s.dialect = sotw
	s.restart()
	return true
}

// opened notes that there is a stream.
func (s *server) opened(d dialect) {
	s.client.mu.Lock()
	s.connected, s.since = true, time.Now()
	s.client.mu.Unlock()
	s.log.Debug("ADS stream open", slog.Any("protocol", d.protocol()))
}

// ended notes that a stream ended, or that there was none, and tells the
// watchers if the server had not answered on it (gRFC A57).
func (s *server) ended(answered bool, err error) {
	if s.client.ctx.Err() != nil {
		return
	}
	level, message := slog.LevelWarn, "no connection to the xDS server"
	s.client.mu.Lock()
	s.restart()
	if s.connected {
		s.connected, s.since = false, time.Now()
	}
	s.lastErr, s.lastErrAt = err, time.Now()
	switch {
	case answered:
		level, message = slog.LevelInfo, "ADS stream ended"
	case s.failure != nil && s.failure.Error() == err.Error():
		level = slog.LevelDebug // it was said before, to the watchers as well
	default:
		s.failure = err
		for _, sub := range s.subs {
			for _, e := range sub.entries {
				e.disconnected(err)
			}
		}
	}
	s.client.mu.Unlock()
	s.log.Log(context.Background(), level, message, slog.Any("error", err))
}

// restart prepares the subscriptions for the next stream. Called with mu held.
func (s *server) restart() {
	for _, sub := range s.subs {
		sub.restart()
	}
}

// forgetVersions follows a change of dialect. Called with mu held.
func (s *server) forgetVersions() {
	for _, sub := range s.subs {
		sub.forgetVersions()
	}
}
