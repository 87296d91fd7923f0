package mesh

import "google.golang.org/grpc"

// watchedStream is a stream whose latency is measured: the time from the last message
// sent before the first one received, to that.
type watchedStream struct {
	grpc.ClientStream
	rpc *rpc
}

func (s *watchedStream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	s.rpc.call.Sent()
	return err
}

func (s *watchedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		s.rpc.call.Answered()
	}
	return err
}

// endStream is end for a stream. One that ended by itself before any message says
// nothing of how fast its endpoint is.
func (r *rpc) endStream(err error) {
	o := r.outcome(err)
	if r.call.Watched() && o.Err == nil {
		r.call.Unwatch()
	}
	r.end(o)
}
