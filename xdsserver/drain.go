package xdsserver

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/status"
)

// drainPace is the time between the ends of two streams while a server drains, so
// that its clients do not all reconnect to the remaining replicas at once.
const drainPace = 5 * time.Millisecond

// flushTime is how long connections may take to write what was sent on their last
// streams.
const flushTime = time.Second

var errDraining = status.Error(codes.Unavailable, "xdsserver is shutting down")

// Drain ends the server gracefully: it accepts no new connection and no new
// stream, tells clients with a GOAWAY to connect elsewhere, and ends the streams
// one after the other, 5 ms apart or as fast as ctx's deadline demands. It returns
// nil when the last one has ended. When ctx is done before that, Drain ends what is
// left and returns ctx's error. Servers that a user passed to [Server.Register] go
// on running; only the streams end.
func (s *Server) Drain(ctx context.Context) error {
	streams, running := s.startDraining()
	var stopping sync.WaitGroup
	for gs, healthy := range running {
		healthy.Shutdown()
		stopping.Go(gs.GracefulStop) // ends with the Stop below at the latest
	}
	stopped := make(chan struct{})
	go func() {
		stopping.Wait()
		close(stopped)
	}()

	err := s.endStreams(ctx, streams)
	if err == nil {
		select {
		case <-s.idle:
			// What may be left are health checks, which nobody ends.
			flush := time.NewTimer(flushTime)
			defer flush.Stop()
			select {
			case <-stopped:
			case <-flush.C:
			case <-ctx.Done():
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	for gs := range running {
		gs.Stop()
	}
	<-stopped
	s.receivers.Wait()
	return err
}

// Close ends the server at once, and all its streams.
func (s *Server) Close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Drain(ctx)
}

func (s *Server) startDraining() ([]*stream, map[*grpc.Server]*health.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining {
		s.draining = true
		if len(s.streams) == 0 {
			close(s.idle)
		}
	}
	streams := make([]*stream, 0, len(s.streams))
	for st := range s.streams {
		streams = append(streams, st)
	}
	running := make(map[*grpc.Server]*health.Server, len(s.running))
	for gs, healthy := range s.running {
		running[gs] = healthy
	}
	return streams, running
}

// endStreams tells every stream to end, spread over time; all at once when ctx is done.
func (s *Server) endStreams(ctx context.Context, streams []*stream) error {
	pace := time.NewTicker(paceOf(ctx, len(streams)))
	defer pace.Stop()
	for _, st := range streams {
		if ctx.Err() == nil {
			select {
			case <-pace.C:
			case <-ctx.Done():
			}
		}
		select {
		case st.end <- errDraining:
		default: // it was told before
		}
	}
	return ctx.Err()
}

// paceOf leaves a fifth of the time until ctx's deadline for the last streams to end.
func paceOf(ctx context.Context, streams int) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return drainPace
	}
	return max(time.Microsecond, min(drainPace, time.Until(deadline)*4/5/time.Duration(max(streams, 1))))
}
